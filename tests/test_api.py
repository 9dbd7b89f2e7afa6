from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import edgeconv
from edgeconv.errors import InputMismatch, TargetError, UsageError

WHOLE = """\
stages = ["onnx", "quantize", "saved_model", "tflite"]
[harness]
runtimes = ["litert"]
seeds = 1
min_runs = 5
min_seconds = 0
"""


class Net(nn.Module):
    """Lives in this test alone: a worker cannot import it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, image, scale):
        return self.drop(torch.relu(self.conv(image))) * scale


@pytest.fixture
def here(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGECONV_CACHE", str(tmp_path / "cache"))
    write("targets/quick.toml", WHOLE)
    return tmp_path


def test_importing_it_imports_nothing_heavy():
    text = "import edgeconv, sys; edgeconv.run; print(*sorted(set(sys.modules) & {'torch', 'tensorflow', 'onnx', 'numpy'}))"
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert set(said.stdout.split()) <= {"numpy"}


@pytest.mark.slow
@pytest.mark.slice
def test_a_live_module_is_converted_and_its_mode_restored(here):
    module = Net()
    module.conv.eval()
    events = []
    with pytest.warns(UserWarning, match=r"training mode \(Net, drop\)"):
        report = edgeconv.run(
            module, "quick", example_inputs={"image": torch.rand(1, 1, 8, 8), "scale": torch.tensor([2.0])},
            name="live", on_event=events.append,
        )  # fmt: skip
    assert report.accepted
    assert (module.training, module.conv.training, module.drop.training) == (True, False, True)
    assert [one["name"] for one in report.contract["inputs"]] == ["image", "scale"]
    assert sorted(path.name for path in (here / "artifacts" / "live" / "quick").iterdir()) == [
        "latency-samples.json",
        "live.tflite",
        "manifest.json",
        "report.json",
    ]
    assert [event.step for event in events if event.what == "built"] == ["onnx", "quantize", "saved_model", "tflite"]


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"model": Net(), "weights": "w.pt"}, UsageError, "weights go with a reference"),
        ({"model": "net.py:make", "target": "zzz"}, TargetError, "no target 'zzz'"),
        ({"model": Net()}, InputMismatch, "Net tells no example inputs"),
        ({"model": Net(), "inputs": ["image"]}, InputMismatch, "cannot read the input spec"),
        (
            {"model": Net(), "inputs": ["image=1x1x8x8"]},
            InputMismatch,
            "missing 1 required positional argument: 'scale'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*training mode")
def test_what_does_not_fit_raises_its_own_class(here, arguments, kind, says):
    with pytest.raises(kind) as caught:
        edgeconv.run(**arguments)
    assert says in caught.value.message
    assert not (here / "artifacts").exists()


def test_example_inputs_do_not_go_with_a_reference(here, write):
    write("net.py", "")
    with pytest.raises(UsageError, match="example_inputs go with a module"):
        edgeconv.run("net.py:make", "quick", example_inputs=(torch.ones(1),))
