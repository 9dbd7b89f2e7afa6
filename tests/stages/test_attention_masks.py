"""Masked attention as PyTorch has it: rows of which all is masked give zero, the lowest number is no minus infinity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chain_helpers import module_source, run_stages

from edgeconv.harness.runtimes import open_artifact
from edgeconv.stages.onnx import Onnx
from edgeconv.stages.saved_model import SavedModel
from edgeconv.stages.tflite import Tflite

NET = """
from torch.nn.functional import scaled_dot_product_attention as attend
class Net(nn.Module):
    def forward(self, q, mask):
        return attend(q, q * 2, q + 1, attn_mask={mask})
def make():
    torch.manual_seed(0)
    return Net().eval(), (torch.randn(2, 4, 3, 8), torch.rand(2, 1, 3, 3) > 0.5)
"""
MASKS = {
    "bool": "~mask",
    "bool and causal": "~mask & torch.tril(torch.ones(3, 3, dtype=torch.bool))",
    "minus infinity": "torch.zeros(mask.shape).masked_fill(mask, float('-inf'))",
    "minus infinity and causal": "torch.zeros(mask.shape).masked_fill(mask, float('-inf')) "
    "+ nn.Transformer.generate_square_subsequent_mask(3)",
    "the lowest number": "torch.zeros(mask.shape).masked_fill(mask, torch.finfo(torch.float32).min)",
    "a large number": "mask * -1e9",
}


@pytest.mark.parametrize("mask", list(MASKS))
def test_rows_of_which_all_is_masked(mask, tmp_path):
    source = module_source(tmp_path, NET.format(mask=MASKS[mask]))
    paths, notes = run_stages(source, [Onnx(), SavedModel(), Tflite(mode="float32")], tmp_path / "chain")
    options = {"runtime": "litert", "artifact": str(paths["tflite"]), "threads": 1}
    runtime = open_artifact({**options, "layouts": notes["tflite"]["layouts"]})
    q = torch.randn(2, 4, 3, 8)
    hidden = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0]], dtype=torch.bool).expand(2, 1, 3, 3).contiguous()
    (found,) = runtime.run({"q": q.numpy(), "mask": hidden.numpy()}).values()
    space = {"torch": torch, "nn": torch.nn, "mask": hidden}
    wanted = torch.nn.functional.scaled_dot_product_attention(q, q * 2, q + 1, attn_mask=eval(MASKS[mask], space))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    assert (np.abs(found[:, :, 0]).max() == 0) == (mask in ("bool", "bool and causal") or "infinity" in mask)
