"""ScatterND and ScatterElements that reduce."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_scatter import LegalizeScatter
from tests.rewrite.helpers import check, infer, model, op_types, random_inputs, rewritten

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


@pytest.mark.parametrize("how", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("op", "indices", "updates"),
    [
        ("ScatterND", [[0], [-1], [0]], [3, 3]),
        ("ScatterND", [[0, 1], [3, 2], [0, 1]], [3]),
        ("ScatterElements", [[0, -1, 0], [2, 0, 1]], [2, 3]),
        ("ScatterElements", [[0, 1], [0, 1]], [2, 2]),
    ],
)
def test_indices_that_are_computed_or_occur_twice(op, indices, updates, how, constant):
    proto, feeds = _scatter(op, [4, 3], indices, updates, how, constant=constant)
    check(proto, LegalizeScatter(), feeds=feeds)


def test_more_places_than_can_be_compared_are_refused():
    indices = np.zeros((3000, 1), np.int64)
    proto, _ = _scatter("ScatterND", [3000, 3], indices, [3000, 3], "max", constant=False)
    graph = ir.from_proto(proto)
    assert LegalizeScatter().apply(graph) == 0
    assert "more places than can be compared" in refused(graph)[0][1]


@pytest.mark.parametrize(("columns", "products"), [(4, 1), (3, 0)])
def test_whole_rows_are_summed_by_a_product_and_parts_of_rows_by_comparing(columns, products):
    nodes = [
        helper.make_node("Expand", ["r", "s"], ["i"]),
        helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=0, reduction="add"),
    ]
    inputs = {"x": (FLOAT, [5, 4]), "u": (FLOAT, [6, columns]), "r": (INT64, [6, 1])}
    proto = model(nodes, inputs, ["y"], {"s": np.array([6, columns])}, opset=18)
    feeds = random_inputs(proto) | {"r": np.array([[4], [0], [-1], [2], [2], [2]])}
    after = check(proto, LegalizeScatter(), feeds=feeds)
    assert op_types(after).count("MatMul") == products


def test_an_infinite_number_stays_with_its_row():
    proto, feeds = _scatter("ScatterND", [4, 3], [[0], [3], [0]], [3, 3], "add", constant=False)
    feeds["u"][1, 1] = -np.inf
    found = infer(rewritten(proto, LegalizeScatter())[0], feeds)[0]
    assert found[3, 1] < -3e38
    assert np.isfinite(np.delete(found, 3, 0)).all()
