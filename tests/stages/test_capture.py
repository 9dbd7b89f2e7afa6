"""Programs that the exporter would stumble over."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from chain_helpers import module_source, run_stages

from edgeconv.stages.onnx import Onnx

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        {init}
    def forward(self, x):
        {body}
def make():
    torch.manual_seed(0)
    return Net().eval(), (torch.linspace(-3, 3, 8).reshape(2, 4),)
"""
#: body, what is set up before, and what numpy says.
CASES = {
    "bounds of two kinds": ("return torch.clamp(5.4 * x, 1e-3, 2)", "pass", lambda x: np.clip(5.4 * x, 1e-3, 2)),
    "bounds by name": ("return x.clamp(max=2, min=-1.5)", "pass", lambda x: np.clip(x, -1.5, 2)),
    "data": (
        "y = torch.tanh(x)\n        return y.data.topk(4)[0].sum(1, keepdim=True) + x.data",
        "pass",
        lambda x: np.tanh(x).sum(1, keepdims=True) + x,
    ),
    "a loop over a buffer": (
        "for i in range(int(self.n)): x = x * 2 + i\n        return x",
        "self.register_buffer('n', torch.tensor(2))",
        lambda x: (x * 2) * 2 + 1,
    ),
    "a branch by a parameter": (
        "return x * 2 if self.p.abs().max().item() > 1 and self.on else x",
        "self.p = nn.Parameter(torch.tensor([0.5, -2.0])); self.register_buffer('on', torch.tensor(True))",
        lambda x: x * 2,
    ),
    "hardtanh": ("return nn.functional.hardtanh(x, 0, 1.5)", "pass", lambda x: np.clip(x, 0, 1.5)),
    "an input changed in place": ("x.sub_(1).mul_(2)\n        return x + 1", "pass", lambda x: 2 * x - 1),
    "parts called like torch.fx's own": (
        "return self.meta(x) * self.code",
        "self.meta, self.code = nn.Sequential(nn.ReLU()), nn.Parameter(torch.full((4,), 2.0))",
        lambda x: 2 * np.maximum(x, 0),
    ),
    "rows of a largest norm": (
        "return self.table(torch.arange(4).expand(2, 4))[..., 0] * 0 + x",
        "self.table = nn.Embedding(4, 3, max_norm=0.5)",
        lambda x: x,
    ),
    "numbers among the outputs": ("return x * 2, 3, None", "pass", lambda x: x * 2),
}


@pytest.mark.parametrize("case", list(CASES))
def test_it_exports_and_computes_the_same(case, tmp_path):
    body, init, wanted = CASES[case]
    source = module_source(tmp_path, NET.format(body=body, init=init))
    paths, _ = run_stages(source, [Onnx()], tmp_path / "chain")
    session = onnxruntime.InferenceSession(str(paths["onnx"]), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    found = session.run(None, {"x": x})
    assert len(found) == 1
    np.testing.assert_allclose(found[0], wanted(x), rtol=1e-6)
    names = [tensor.name for tensor in onnx.load(str(paths["onnx"])).graph.initializer]
    assert not any("edgeconv" in name for name in names)
