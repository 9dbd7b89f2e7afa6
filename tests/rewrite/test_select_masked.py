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


TABLE = {"table": np.random.default_rng(2).standard_normal((9, 4)).astype(np.float32), "c1": np.array([1]), "c0": np.array([0]),
         "m1": np.array([-1]), "two": np.array([2]), "big": np.array([4])}  # fmt: skip
COLUMN = [N("Slice", ["at", "c0", "c1", "c1"], ["s"]), N("Squeeze", ["s", "c1"], ["i"])]
OTHER = [N("Slice", ["at", "c1", "two", "c1"], ["s2"]), N("Squeeze", ["s2", "c1"], ["j"])]
ENDS = {
    "one coordinate looks up": [*COLUMN, N("Gather", ["table", "i"], ["r"]), BACK],
    "both in the other order": [
        *COLUMN, *OTHER, N("Unsqueeze", ["i", "m1"], ["ui"]), N("Unsqueeze", ["j", "m1"], ["uj"]),
        N("Concat", ["uj", "ui"], ["ji"], axis=-1), N("GatherND", ["big_table", "ji"], ["r"]), BACK,
    ],
    "numbers of rows look up": [
        N("ArgMax", ["rows"], ["a"], axis=1, keepdims=0), N("Add", ["a", "a"], ["i"]), N("Gather", ["table", "i"], ["r"]), BACK,
    ],
    "written elsewhere": [*OTHER, N("Unsqueeze", ["j", "m1"], ["uj"]), N("ScatterND", ["table", "uj", "rows"], ["y"])],
    "written to what rows say": [
        N("ArgMax", ["rows"], ["a"], axis=1, keepdims=1), N("ScatterND", ["table", "a", "rows"], ["y"], reduction="add"),
    ],
    "added elsewhere": [
        *COLUMN, N("Unsqueeze", ["i", "m1"], ["ui"]), N("ScatterND", ["table", "ui", "rows"], ["y"], reduction="add"),
    ],
    "a size in an Expand": [
        N("Shape", ["rows"], ["n"], start=0, end=1), N("Concat", ["n", "big"], ["to"], axis=0),
        N("ReduceSum", ["rows", "c1"], ["most"], keepdims=1), N("Expand", ["most", "to"], ["r"]), BACK,
    ],
    "a size in a Reshape": [
        N("Shape", ["rows"], ["all"]), N("Gather", ["all", "c0"], ["n"]), N("Concat", ["n", "two", "two"], ["to"], axis=0),
        N("Reshape", ["rows", "to"], ["h"]), N("ReduceSum", ["h", "two"], ["mean"], keepdims=1),
        N("Sub", ["h", "mean"], ["d"]),
        N("Reshape", ["d", "all"], ["r"]), BACK,
    ],
    "a size as a number": [
        N("Shape", ["rows"], ["all"]), N("Gather", ["all", "c0"], ["n"]), N("Cast", ["n"], ["f"], to=FLOAT),
        N("ReduceSum", ["rows", "c0"], ["sum"], keepdims=0), N("Div", ["sum", "f"], ["y"]),
    ],
    "how many elements": [N("Size", ["rows"], ["n"]), N("Cast", ["n"], ["y"], to=FLOAT)],
    "products row by row": [
        N("Reshape", ["rows", "heads"], ["h"]), N("Transpose", ["h"], ["t"], perm=[0, 2, 1]), N("MatMul", ["h", "t"], ["p"]),
        N("MatMul", ["p", "h"], ["q"]), N("Reshape", ["q", "flat"], ["r"]), BACK,
    ],
    "a convolution a row": [
        N("Reshape", ["rows", "image"], ["h"]), N("Conv", ["h", "k"], ["c"], pads=[1, 1, 1, 1]),
        N("Reshape", ["c", "flat"], ["r"]), BACK,
    ],
    "the best of each": [N("TopK", ["rows", "two"], ["v", "w"]), N("Concat", ["v", "v"], ["r"], axis=1), BACK],
    "back and forth": [
        N("Transpose", ["rows"], ["t"], perm=[1, 0]), N("ReduceSum", ["t", "c0"], ["z"], keepdims=1),
        N("Squeeze", ["z", "c0"], ["q"]), N("Unsqueeze", ["q", "m1"], ["u"]), N("Mul", ["rows", "u"], ["r"]), BACK,
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", list(ENDS))
def test_places_sizes_and_other_ends(case):
    """The rows left out are never seen, whatever they hold."""
    mask = np.array([[True, False, False], [False, False, True]])
    x = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)
    big = np.random.default_rng(3).random((3, 2, 4), np.float32)
    more = {"heads": np.array([-1, 2, 2]), "flat": np.array([-1, 4]), "image": np.array([-1, 1, 2, 2]), "big_table": big,
            "k": np.ones((1, 1, 3, 3), np.float32)}  # fmt: skip
    proto = masked(ENDS[case], constants={**TABLE, **more}, opset=18)
    for chosen in (mask, np.zeros_like(mask), ~np.zeros_like(mask)):
        if case == "written elsewhere" and chosen.sum() > 2:  # then two rows go to one place, and no order is promised
            continue
        check(proto, SelectMasked(), feeds={"x": x, "m": chosen}, opset=18)


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
