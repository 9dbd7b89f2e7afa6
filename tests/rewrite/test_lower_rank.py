"""Seven and eight axes become six or fewer, and the values stay."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import check, model
from onnx import TensorProto, helper

from edgeconv.rewrite.lower_rank import MOST_AXES, LowerRank

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
N = helper.make_node
SHAPE, OTHER = [1, 2, 1, 3, 2, 1, 4], [1, 1, 2, 3, 1, 2, 4]
GIVEN = {"two": np.array([2]), "last": np.array([-1]), "places": np.array([[1, 0], [0, 1]]), "zero": np.array(0.5, np.float32),
     "to": np.array([1, 2, 5, 3, 2, 2, 4]), "axes": np.array([1, 3, 4]), "starts": np.array([1, -3]), "ends": np.array([9, -9]),
     "sliced": np.array([3, -1]), "steps": np.array([1, -1]), "high": np.array(1, np.float32),
     "pads": np.array([0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 1])}  # fmt: skip
CASES = {
    "Add": N("Add", ["x", "y"], ["z"]),
    "Where": N("Where", ["flag", "x", "y"], ["z"]),
    "Mul by one number": N("Mul", ["x", "zero"], ["z"]),
    "Max of one": N("Max", ["x"], ["z"]),
    "Clip": N("Clip", ["x", "", "high"], ["z"]),
    "Tanh": N("Tanh", ["x"], ["z"]),
    "Expand": N("Expand", ["x", "to"], ["z"]),
    "Softmax": N("Softmax", ["x"], ["z"], axis=3),
    "Concat": N("Concat", ["x", "x"], ["z"], axis=-3),
    "Gather": N("Gather", ["x", "places"], ["z"], axis=4),
    "ArgMax": N("ArgMax", ["x"], ["k"], axis=3, keepdims=0),
    "ReduceSum": N("ReduceSum", ["x", "axes"], ["z"], keepdims=0),
    "ReduceMean": N("ReduceMean", ["x"], ["z"], axes=[1, 3, -1], keepdims=1),
    "ReduceMax of all": N("ReduceMax", ["x"], ["z"], keepdims=0),
    "Pad": N("Pad", ["x", "pads", "zero"], ["z"]),
    "Pad at the edge": N("Pad", ["x", "pads"], ["z"], mode="edge"),
    "Slice": N("Slice", ["x", "starts", "ends", "sliced", "steps"], ["z"]),
    "Transpose": N("Transpose", ["x"], ["z"], perm=[4, 2, 1, 3, 0, 6, 5]),
    "Transpose of what is already in order": N("Transpose", ["x"], ["z"], perm=[2, 0, 1, 3, 4, 5, 6]),
    "MatMul": N("MatMul", ["m", "n"], ["z"]),
}


def of(node, shape=None):
    inputs = {"x": (FLOAT, shape or SHAPE), "y": (FLOAT, OTHER), "flag": (TensorProto.BOOL, [2, 1]),
              "m": (FLOAT, [1, 2, 1, 3, 2, 2, 4]), "n": (FLOAT, [1, 1, 2, 3, 2, 4, 5])}  # fmt: skip
    used = {name: entry for name, entry in inputs.items() if name in node.input}
    outputs = {name: INT64 if name == "k" else FLOAT for name in node.output}
    return model([node], used, outputs, {name: array for name, array in GIVEN.items() if name in node.input}, opset=13)


@pytest.mark.parametrize("case", list(CASES))
def test_the_values_stay(case):
    after = check(
        of(CASES[case]), LowerRank(), tolerance=0 if case not in ("Softmax", "ReduceMean", "MatMul") else 1e-6
    )
    shapes = {
        value.name: len(value.type.tensor_type.shape.dim) for value in [*after.graph.value_info, *after.graph.input]
    }
    for node in after.graph.node:
        if node.op_type != "Reshape":
            assert max(shapes.get(name, 0) for name in [*node.input, *node.output]) <= MOST_AXES


def test_split_has_several_outputs():
    proto = model([N("Split", ["x"], ["z", "w"], axis=1)], {"x": (FLOAT, SHAPE)}, ["z", "w"], opset=13)
    check(proto, LowerRank(), tolerance=0)


def test_six_axes_stay_but_a_pad_has_fewer():
    check(of(N("Tanh", ["x"], ["z"]), [1, 2, 1, 3, 2, 4]), LowerRank(), changed=0)
    pads = {"p": np.array([0, 0, 0, 0, 1, 0, 0, 0, 1, 0])}
    proto = model([N("Pad", ["x", "p"], ["z"])], {"x": (FLOAT, [2, 3, 4, 1, 5])}, ["z"], pads, opset=13)
    check(proto, LowerRank(), tolerance=0)


@pytest.mark.parametrize(
    ("shape", "perm", "turns"),
    [
        ([2] * 7, [6, 5, 4, 3, 2, 1, 0], 2),
        ([1, 3, 2, 2, 4, 2, 2, 3], [0, 2, 4, 6, 5, 7, 3, 1], 2),  # a volume's patches, the channels last
        ([2] * 9, [8, 6, 4, 2, 0, 7, 5, 3, 1], 2),
        ([1, 2, 3, 2, 2, 3, 2, 2, 2, 3], [9, 0, 8, 1, 7, 2, 6, 3, 5, 4], 3),
    ],
)
def test_axes_that_all_move_do_so_in_several_turns(shape, perm, turns):
    after = check(of(N("Transpose", ["x"], ["z"], perm=perm), shape), LowerRank(), tolerance=0)
    assert sum(node.op_type == "Transpose" for node in after.graph.node) <= turns
    shapes = {value.name: len(value.type.tensor_type.shape.dim) for value in after.graph.value_info}
    assert all(shapes[node.input[0]] <= MOST_AXES for node in after.graph.node if node.op_type == "Transpose")
