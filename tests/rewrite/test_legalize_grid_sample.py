"""GridSample-16 as Gathers."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper

from edgeconv.rewrite import legalize_grid_sample
from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_grid_sample import LegalizeGridSample
from tests.rewrite.helpers import check, model

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _sample(mode, padding, align, batch=2):
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    node = helper.make_node("GridSample", ["x", "g"], ["y"], **attributes)
    inputs = {"x": (FLOAT, [batch, 3, 5, 7]), "g": (FLOAT, [batch, 4, 6, 2])}
    return model([node], inputs, ["y"], opset=16)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("batch", [1, 2])
def test_samples_agree(mode, padding, align, batch):
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((batch, 3, 5, 7)).astype(np.float32)}
    feeds["g"] = rng.uniform(-1.4, 1.4, (batch, 4, 6, 2)).astype(np.float32)
    check(_sample(mode, padding, align, batch), LegalizeGridSample(), feeds=feeds)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("align", "batch"), [(0, 1), (1, 2)])
def test_volumes_agree(mode, padding, align, batch):
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode=mode, padding_mode=padding, align_corners=align)
    inputs = {"x": (FLOAT, [batch, 3, 4, 5, 7]), "g": (FLOAT, [batch, 2, 3, 6, 3])}
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((batch, 3, 4, 5, 7)).astype(np.float32)}
    feeds["g"] = rng.uniform(-1.4, 1.4, (batch, 2, 3, 6, 3)).astype(np.float32)
    check(model([node], inputs, ["y"], opset=20), LegalizeGridSample(), feeds=feeds)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_coordinates_are_rounded_as_in_pytorch(mode, padding, align):
    """Thirds and tenths of a large image lie near the middle between two pixels, where the last bit decides."""
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode=mode, padding_mode=padding, align_corners=int(align))
    proto = model([node], {"x": (FLOAT, [1, 2, 96, 512]), "g": (FLOAT, [1, 60, 90, 2])}, ["y"], opset=16)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, 96, 512)).astype(np.float32)
    pixels = rng.integers(-300, 900, (1, 60, 90, 2)) / np.float32(2)
    grid = (pixels / np.array([511, 95], np.float32) * 2 - 1).astype(np.float32)

    def sampled(x, g):
        result = torch.nn.functional.grid_sample(
            torch.from_numpy(x), torch.from_numpy(g), mode, padding, align_corners=align
        )
        return [result.numpy()]

    check(proto, LegalizeGridSample(), feeds={"x": x, "g": grid}, reference=sampled, tolerance=5e-6)


def test_rows_that_float32_cannot_count_are_numbered_in_integers(monkeypatch):
    monkeypatch.setattr(legalize_grid_sample, "_FLOAT_COUNTS", 16)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 3, 5, 7)).astype(np.float32)}
    feeds["g"] = rng.uniform(-1.4, 1.4, (2, 4, 6, 2)).astype(np.float32)
    after = check(_sample("bilinear", "zeros", 0), LegalizeGridSample(), feeds=feeds)
    kinds = {value.name: value.type.tensor_type.elem_type for value in after.graph.value_info}
    numbers = [node for node in after.graph.node if node.op_type == "Reshape" and kinds.get(node.input[0]) == INT64]
    producers = {name: node.op_type for node in after.graph.node for name in node.output}
    assert {producers[node.input[0]] for node in numbers} == {"Add"}


def test_refusals():
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="cubic")
    inputs = {"x": (FLOAT, [1, 3, 4, 5, 7]), "g": (FLOAT, [1, 2, 3, 6, 3])}
    graph = ir.from_proto(model([node], inputs, ["y"], opset=20))
    assert LegalizeGridSample().apply(graph) == 0
    assert "bicubically" in refused(graph)[0][1]
