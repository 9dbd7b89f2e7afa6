"""The table of translations that is handed to the exporter."""

import pytest
import torch
from torch.onnx._internal.exporter import _registration

from edgeconv.stages import onnx_translate

A = torch.ops.aten
TARGETS = (
    A.lstm.input,
    A.scaled_dot_product_attention.default,
    A.mean.dim,
    A.mean.default,
    A.avg_pool2d.default,
    A.avg_pool3d.default,
    A.index_put.default,
    A.scatter_reduce.two,
    A.repeat_interleave.Tensor,
)


@pytest.fixture(scope="module")
def registry():
    return _registration.ONNXRegistry.from_torchlib(opset_version=18)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_exporters_own_is_found_without_its_registry(target, registry):
    assert onnx_translate.exporters(target) is registry.get_decomps(target)[0].onnx_function
