"""Rows that a mask selects are computed with all others, and chosen at the end; what needs their number stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from helpers import check, model, op_types
from onnx import TensorProto, helper

from edgeconv.rewrite.base import run
from edgeconv.rewrite.select_masked import SelectMasked

FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
N = helper.make_node
PLACES = [N("NonZero", ["m"], ["nz"]), N("Transpose", ["nz"], ["at"], perm=[1, 0])]
ROWS = [*PLACES, N("GatherND", ["x", "at"], ["rows"])]


def masked(nodes, outputs=("y",), constants=None, mask=(2, 3), opset=13, **types):
    inputs = {"x": (FLOAT, [2, 3, 4]), "m": (BOOL, list(mask))}
    return model([*ROWS, *nodes], inputs, {name: types.get(name, FLOAT) for name in outputs}, constants, opset=opset)


BACK = N("ScatterND", ["x", "at", "r"], ["y"])
WEIGHTS = {"w": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32), "b": np.ones(4, np.float32)}
REGIONS = {
    "one op": ([N("Relu", ["rows"], ["r"])], {}),
    "two selections": ([N("GatherND", ["x", "at"], ["more"]), N("Add", ["rows", "more"], ["r"])], {}),
    "a row for all": ([N("Mul", ["rows", "b"], ["r"])], WEIGHTS),
    "Gemm": ([N("Gemm", ["rows", "w", "b"], ["r"], transB=1)], WEIGHTS),
    "MatMul": ([N("MatMul", ["rows", "w"], ["s"]), N("Softmax", ["s"], ["r"], axis=-1)], WEIGHTS),
    "heads": (
        [
            N("Reshape", ["rows", "two"], ["h"]),
            N("Transpose", ["h"], ["t"], perm=[1, 0, 2]),
            N("MatMul", ["t", "v"], ["u"]),
            N("ReduceMean", ["u"], ["mean"], axes=[2], keepdims=1),
            N("Sub", ["u", "mean"], ["c"]),
            N("Transpose", ["c"], ["back"], perm=[1, 0, 2]),
            N("Reshape", ["back", "four"], ["r"]),
        ],
        {"two": np.array([-1, 2, 2]), "four": np.array([-1, 4]), "v": np.array([[1, 2], [3, 5]], np.float32)},
    ),
    "halves": (
        [N("Split", ["rows"], ["p", "q"], axis=1), N("Concat", ["q", "p"], ["r"], axis=1)],
        {},
    ),
    "columns": (
        [
            N("Gather", ["rows", "last"], ["g"], axis=1),
            N("Unsqueeze", ["g", "one"], ["u"]),
            N("Expand", ["b", "shape"], ["e"]),
            N("Mul", ["u", "e"], ["r"]),
        ],
        {"last": np.array(3), "one": np.array([1]), "shape": np.array([1, 4]), **WEIGHTS},
    ),
}  # fmt: skip


@pytest.mark.parametrize("region", list(REGIONS))
def test_rows_that_go_back(region):
    nodes, constants = REGIONS[region]
    after = check(masked([*nodes, BACK], constants=constants), SelectMasked())
    assert not {"GatherND", "ScatterND"} & set(op_types(after))


def test_rows_are_added_where_the_scatter_adds():
    after = check(
        masked([N("ScatterND", ["x", "at", "rows"], ["y"], reduction="add")], opset=18), SelectMasked(), opset=18
    )
    assert "Add" in op_types(after)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"]
)
@pytest.mark.parametrize("axes", [[0], [0, 1], None])
def test_rows_that_are_reduced(op, axes, keepdims, opset):
    if axes is None:
        node, constants = N(op, ["rows"], ["y"], keepdims=keepdims), {}
    elif opset == 18 or op == "ReduceSum":
        node, constants = N(op, ["rows", "axes"], ["y"], keepdims=keepdims), {"axes": np.array(axes)}
    else:
        node, constants = N(op, ["rows"], ["y"], keepdims=keepdims, axes=axes), {}
    mask = np.array([[True, False, True], [False, False, True]])
    x = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)
    check(masked([node], constants=constants, opset=opset), SelectMasked(), feeds={"x": x, "m": mask}, opset=opset)


def test_numbers_out_of_the_rows_left_out_reach_nothing():
    """log of a negative row is no number, and 0 times that is none either."""
    x = np.array([[[-1, 2, 3, 4]] * 3, [[5, -6, 7, 8]] * 3], np.float32)
    nodes = [N("Log", ["rows"], ["r"]), BACK, N("ReduceMean", ["r"], ["z"], keepdims=0)]
    proto = masked(nodes, ("y", "z"), mask=(2, 3, 4))
    check(proto, SelectMasked(), feeds={"x": x, "m": x > 0})


def test_a_mask_that_is_computed_twice_is_one():
    nodes = [
        node
        for n in "12"
        for node in (
            N("Greater", ["x", "zero"], ["m" + n]),
            N("NonZero", ["m" + n], ["n" + n]),
            N("Transpose", ["n" + n], ["a" + n], perm=[1, 0]),
        )
    ]
    nodes += [N("GatherND", ["x", "a1"], ["rows"]), N("Exp", ["rows"], ["r"]), N("ScatterND", ["x", "a2", "r"], ["y"])]
    proto = model(nodes, {"x": (FLOAT, [2, 5])}, ["y"], {"zero": np.array(0, np.float32)}, opset=13)
    check(proto, SelectMasked())


STAYS = {
    "the rows are an output": ([N("Relu", ["rows"], ["y"])], {}, FLOAT),
    "another mask's places": (
        [N("Not", ["m"], ["o"]), N("NonZero", ["o"], ["n"]), N("Transpose", ["n"], ["t"], perm=[1, 0]),
         N("Relu", ["rows"], ["r"]), N("ScatterND", ["x", "t", "r"], ["y"])], {}, FLOAT),
    "their number": ([N("Shape", ["rows"], ["y"])], {}, INT64),
    "over the rows": ([N("Softmax", ["rows"], ["r"], axis=0), BACK], {}, FLOAT),
    "the sum so far": ([N("CumSum", ["rows", "zero"], ["r"]), BACK], {"zero": np.array(0)}, FLOAT),
    "the first one": ([N("Gather", ["rows", "zero"], ["y"], axis=0)], {"zero": np.array(0)}, FLOAT),
    "pairs of them": ([N("MatMul", ["rows", "w"], ["s"]), N("Transpose", ["s"], ["t"], perm=[1, 0]),
                       N("MatMul", ["s", "t"], ["y"])], WEIGHTS, FLOAT),
    "two in one": ([N("Reshape", ["rows", "eight"], ["y"])], {"eight": np.array([-1, 8])}, FLOAT),
    "something for each": ([N("Add", ["rows", "each"], ["r"]), BACK], {"each": np.ones((6, 4), np.float32)}, FLOAT),
}  # fmt: skip


@pytest.mark.parametrize("why", list(STAYS))
def test_what_depends_on_which_rows_there_are_stays(why):
    nodes, constants, kind = STAYS[why]
    graph = ir.from_proto(masked(nodes, constants=constants, y=kind))
    before = [node.op_type for node in graph.graph]
    assert run(graph, [SelectMasked()]) == {}
    assert [node.op_type for node in graph.graph] == before
