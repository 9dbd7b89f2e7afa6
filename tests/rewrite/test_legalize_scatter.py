"""ScatterND and ScatterElements that reduce."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_scatter import LegalizeScatter
from tests.rewrite.helpers import check, model, op_types, random_inputs

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _scatter(op, data, indices, updates, how, *, constant=True, kind=FLOAT, **attributes):
    indices = np.array(indices)
    node = helper.make_node(op, ["x", "i", "u"], ["y"], reduction=how, **attributes)
    inputs = {"x": (kind, data), "u": (kind, updates)}
    if not constant:
        inputs["i"] = (INT64, indices.shape)
    proto = model([node], inputs, {"y": kind}, {"i": indices} if constant else {}, opset=18)
    return proto, random_inputs(proto) | ({} if constant else {"i": indices})


@pytest.mark.parametrize("op", ["ScatterND", "ScatterElements"])
def test_without_reduction_only_the_attribute_goes(op):
    indices = [[0], [3]] if op == "ScatterND" else [[0, 1], [2, 2]]
    updates = [2, 3] if op == "ScatterND" else [2, 2]
    proto, feeds = _scatter(op, [4, 3], indices, updates, "none")
    assert op_types(check(proto, LegalizeScatter(), feeds=feeds, tolerance=0)) == [op]


@pytest.mark.parametrize("how", ["add", "mul", "max", "min"])
def test_each_index_once(how):
    proto, feeds = _scatter("ScatterND", [4, 3], [[0], [-1]], [2, 3], how)
    check(proto, LegalizeScatter(), feeds=feeds)
    proto, feeds = _scatter("ScatterElements", [4, 3], [[0, -1, 2], [2, 0, 1]], [2, 3], how, axis=0)
    check(proto, LegalizeScatter(), feeds=feeds)


@pytest.mark.parametrize(("indices", "updates"), [([[0], [2], [0], [-4]], [4, 3]), ([[0, 1], [0, 1], [3, 2]], [3])])
@pytest.mark.parametrize("kind", [FLOAT, TensorProto.INT32])
def test_sums_at_indices_that_occur_twice(indices, updates, kind):
    proto, feeds = _scatter("ScatterND", [4, 3], indices, updates, "add", kind=kind)
    check(proto, LegalizeScatter(), feeds=feeds)


@pytest.mark.parametrize(("axis", "updates"), [(0, [5, 3]), (1, [4, 2]), (-1, [4, 6])])
@pytest.mark.parametrize("constant", [True, False])
def test_element_sums_at_any_indices(axis, updates, constant):
    indices = np.random.default_rng(0).integers(-3, 3, updates)
    proto, feeds = _scatter("ScatterElements", [4, 3], indices, updates, "add", constant=constant, axis=axis)
    check(proto, LegalizeScatter(), feeds=feeds)


@pytest.mark.parametrize(
    ("op", "indices", "updates", "how", "constant"),
    [
        ("ScatterND", [[0], [0]], [2, 3], "mul", True),
        ("ScatterND", [[0], [1]], [2, 3], "add", False),
        ("ScatterElements", [[0, 0, 0], [0, 0, 0]], [2, 3], "max", True),
        ("ScatterElements", [[0, 1]], [1, 2], "add", False),
    ],
)
def test_refusals(op, indices, updates, how, constant):
    proto, _ = _scatter(op, [4, 3], indices, updates, how, constant=constant)
    graph = ir.from_proto(proto)
    assert LegalizeScatter().apply(graph) == 0
    assert refused(graph)[0][1] == f"it reduces by {how} at indices that are computed or occur twice"
