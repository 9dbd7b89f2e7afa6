"""GridSample-16 as Gathers."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_grid_sample import LegalizeGridSample
from tests.rewrite.helpers import check, model

FLOAT = TensorProto.FLOAT


def _sample(mode, padding, align, batch=2):
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    node = helper.make_node("GridSample", ["x", "g"], ["y"], **attributes)
    inputs = {"x": (FLOAT, [batch, 3, 5, 7]), "g": (FLOAT, [batch, 4, 6, 2])}
    return model([node], inputs, ["y"], opset=16)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("batch", [1, 2])
def test_samples_agree(mode, padding, align, batch):
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((batch, 3, 5, 7)).astype(np.float32)}
    feeds["g"] = rng.uniform(-1.4, 1.4, (batch, 4, 6, 2)).astype(np.float32)
    check(_sample(mode, padding, align, batch), LegalizeGridSample(), feeds=feeds)


@pytest.mark.parametrize(("mode", "padding"), [("bicubic", "zeros"), ("bilinear", "reflection")])
def test_refusals(mode, padding):
    graph = ir.from_proto(_sample(mode, padding, 0))
    assert LegalizeGridSample().apply(graph) == 0
    assert "bicubically or reflects" in refused(graph)[0][1]
