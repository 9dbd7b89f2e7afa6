"""A file whose batch was fixed gives PyTorch's results at any, and what cannot be left open is named."""

from dataclasses import replace

import numpy as np
import pytest

from edgeconv.errors import UnsupportedOp
from edgeconv.harness.metrics import compare
from edgeconv.harness.runtimes import open_artifact
from edgeconv.source import PROBE_BATCH, loading
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.quantize import Quantize
from edgeconv.stages.saved_model import SavedModel
from edgeconv.stages.tflite import Tflite
from tests.stages.chain_helpers import module_source, run_stages

MIXED = """
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.up, self.out = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 2, 2), nn.Linear(8, 5)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    def forward(self, image, shift):
        x = F.relu(self.conv(image)) + shift[:, :, None, None]
        t = x.flatten(2).mT
        t = self.layer(torch.cat([self.token.expand(t.shape[0], -1, -1), t], 1))
        return self.out(t[:, 0]), self.up(x), t.argmax(-1)

def make():
    torch.manual_seed(0)
    return Net().eval(), {"image": torch.rand(1, 3, 16, 16), "shift": torch.randn(1, 8)}
"""

REPEATED = """
class Net(nn.Module):
    def forward(self, x):
        return x.sum(0, keepdim=True).tile(x.shape[0], 1)

def make():
    return Net(), (torch.rand(2, 4),)
"""


def source_of(folder, text):
    return replace(module_source(folder, text), batch=PROBE_BATCH)


@pytest.mark.parametrize("quantized", [False, True])
def test_every_size_gives_what_pytorch_gives(quantized, tmp_path):
    import torch

    source = source_of(tmp_path, MIXED)
    last = Tflite(mode="dynamic" if quantized else "float32", dynamic=(0,))
    stages = [Onnx(), *([Quantize()] if quantized else []), SavedModel(), last]
    paths, notes = run_stages(source, stages, tmp_path / "chain")
    assert notes["tflite"]["ops_freed_of_the_batch"] > 0
    module = loading.load(source).module
    runtime = open_artifact(
        {"runtime": "litert", "artifact": str(paths["tflite"]), "threads": 1, "layouts": notes["tflite"]["layouts"]}
    )
    assert [entry["shape"] for entry in runtime.contract()["inputs"]] == [[1, 16, 16, 3], [1, 8]]
    generator = np.random.default_rng(3)
    for batch in (1, 4, 2):
        inputs = {
            "image": generator.random((batch, 3, 16, 16), np.float32),
            "shift": generator.standard_normal((batch, 8)).astype(np.float32),
        }
        wanted = loading.outputs_of(module, {name: torch.from_numpy(array) for name, array in inputs.items()})
        found = runtime.run(inputs)
        for name in list(wanted)[:2]:
            snr = compare(wanted[name].detach().numpy(), found[name])["snr_db"]
            assert snr > (30 if quantized else 100), (batch, name)
        assert found["output_2"].shape == (batch, 65)


def test_what_repeats_by_the_batch_is_named(tmp_path):
    with pytest.raises(UnsupportedOp, match=r"the batch cannot be left open: (TILE|BROADCAST_TO)"):
        run_stages(
            source_of(tmp_path, REPEATED), [Onnx(), SavedModel(), Tflite(mode="float32", dynamic=(0,))], tmp_path / "c"
        )
