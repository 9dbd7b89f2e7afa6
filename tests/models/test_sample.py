"""The bundled sample: a trained network, its held-out images, and that one belongs to the other."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
sample = importlib.import_module("edgeconv.models.sample")

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION = ROOT / "calibration"


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return tomllib.loads((CALIBRATION / "digits.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def arrays(description: dict[str, Any]) -> dict[str, np.ndarray]:
    with np.load(CALIBRATION / description["data"]["file"], allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def trainer() -> ModuleType:
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("train_sample", ROOT / "scripts" / "train_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def preprocessed(images: np.ndarray, steps: list[dict[str, Any]]) -> Any:
    batch = torch.from_numpy(images)
    for step in steps:
        if step["op"] == "scale":
            batch = batch.to(torch.float32) * step["factor"] + step["offset"]
        elif step["op"] == "resize":
            batch = torch.nn.functional.interpolate(
                batch[:, None], size=step["size"], mode=step["mode"], align_corners=False
            )[:, 0]
        else:
            assert step["op"] == "reshape"
            batch = batch.reshape(step["shape"])
    return batch


def test_the_factory_gives_a_module_in_eval_mode_and_an_input_it_takes():
    model, inputs = sample.digits()
    assert not any(module.training for module in model.modules())
    assert list(inputs) == list(inspect.signature(model.forward).parameters) == ["image"]
    image = inputs["image"]
    assert image.dtype == torch.float32
    assert image.shape == (1, 1, 32, 32)
    assert image.min() == 0
    assert image.max() == 1
    with torch.no_grad():
        logits = model(**inputs)
    assert logits.shape == (1, 10)
    assert logits.argmax() == 0  # a zero is what the example draws


def test_the_factory_gives_the_same_every_time():
    (first, first_inputs), (second, second_inputs) = sample.digits(), sample.digits()
    assert torch.equal(first_inputs["image"], second_inputs["image"])
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_the_network_has_the_parts_of_a_mobile_network():
    model, _ = sample.digits()
    kinds = {type(module) for module in model.modules()}
    assert {torch.nn.BatchNorm2d, torch.nn.Hardswish, torch.nn.ReLU6, torch.nn.Dropout, torch.nn.Linear} <= kinds
    assert any(isinstance(part, torch.nn.Conv2d) and part.groups == part.in_channels > 1 for part in model.modules())
    assert sum(getattr(part, "adds", False) for part in model.modules()) == 1
    assert 60_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 150_000


def test_no_depthwise_channel_dwarfs_another_once_the_norms_are_folded_in():
    model, _ = sample.digits()
    for part in model.modules():
        if isinstance(part, sample.ConvNorm) and part[0].groups > 1:
            folded = torch.nn.utils.fuse_conv_bn_eval(part[0], part[1])
            ranges = folded.weight.detach().abs().amax((1, 2, 3))
            assert ranges.max() / ranges.min() < 10


def test_the_weights_are_a_small_safetensors_file():
    content = sample.WEIGHTS.read_bytes()
    assert len(content) < 1_000_000
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    header.pop("__metadata__", None)
    assert set(header) == set(sample.DigitNet().state_dict())
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(content) - 8 - header_size


def test_the_package_itself_imports_nothing_heavy():
    probe = "import sys, edgeconv.models; print({'torch', 'numpy', 'safetensors'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_the_description_names_the_data_by_its_digest(description):
    data = (CALIBRATION / description["data"]["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == description["data"]["sha256"]
    assert len(data) < 100_000


def test_the_arrays_are_what_the_description_says(description, arrays):
    assert set(arrays) == {"train_images", "test_images", "test_labels"}
    representative = arrays[description["representative"]["array"]]
    images, labels = arrays[description["labelled"]["array"]], arrays[description["labelled"]["labels"]]
    assert (representative.dtype, representative.shape) == (np.uint8, (256, 8, 8))
    assert (images.dtype, images.shape) == (np.uint8, (540, 8, 8))
    assert (labels.dtype, labels.shape) == (np.int64, (540,))
    assert max(representative.max(), images.max()) == 16
    assert np.bincount(labels, minlength=10).min() >= 50


def test_no_held_out_image_is_a_representative_one(arrays):
    seen = {image.tobytes() for image in arrays["train_images"]}
    assert len(seen) == len(arrays["train_images"])
    assert not seen & {image.tobytes() for image in arrays["test_images"]}


def test_the_held_out_images_are_read_right(description, arrays):
    labelled, steps = description["labelled"], description["preprocessing"]
    assert labelled["input"] == description["representative"]["input"] == "image"
    images = preprocessed(arrays[labelled["array"]], steps)
    assert images.dtype == torch.float32
    assert images.shape == (540, 1, 32, 32)
    model, _ = sample.digits()
    with torch.no_grad():
        guesses = model(images).argmax(1).numpy()
    assert (guesses == arrays[labelled["labels"]]).mean() >= 0.97


def test_training_and_description_prepare_images_alike(trainer, description, arrays):
    images = arrays["train_images"]
    assert torch.equal(trainer.preprocess(images), preprocessed(images, description["preprocessing"]))


def test_nothing_held_out_was_trained_on(trainer, arrays):
    seen, _ = trainer.split()
    assert len(seen["images"]) == 1257
    assert not {image.tobytes() for image in seen["images"]} & {image.tobytes() for image in arrays["test_images"]}


def test_a_second_run_writes_the_same_data_and_description(trainer, description):
    data = trainer.archive(trainer.split()[1])
    assert data == (CALIBRATION / description["data"]["file"]).read_bytes()
    assert trainer.describe(data) == (CALIBRATION / "digits.toml").read_text(encoding="utf-8")
