"""Chains of reshapes and transposes become one move of the elements, or none."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.fuse_views import FuseViews
from tests.rewrite.helpers import check, model, op_types

X = (TensorProto.FLOAT, [2, 12, 6, 4])


def chain(*steps, shape=X[1]):
    """Tuples are permutations, lists are shapes."""
    nodes, constants, name = [], {}, "x"
    for number, step in enumerate(steps):
        out = f"v{number}"
        if isinstance(step, tuple):
            nodes.append(helper.make_node("Transpose", [name], [out], perm=step))
        else:
            constants[f"s{number}"] = np.array(step, np.int64)
            nodes.append(helper.make_node("Reshape", [name, f"s{number}"], [out]))
        name = out
    nodes.append(helper.make_node("Neg", [name], ["y"]))
    return model(nodes, {"x": (TensorProto.FLOAT, shape)}, ["y"], constants, opset=13)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        # back and forth
        (([2, 12, 24], (0, 2, 1), (0, 2, 1), [2, 12, 6, 4]), ["Reshape"]),
        # keys: batch and heads in one axis, transposed, and parted again
        (([24, 6, 4], (0, 2, 1), [2, 12, 4, 6]), ["Transpose"]),
        # patches of an image: two moves are one
        (
            ([72, 2, 2, 2], (0, 2, 1, 3), [2, 12, 3, 2, 4], (0, 4, 2, 1, 3), [2, 4, 72]),
            ["Reshape", "Transpose", "Reshape"],
        ),
        (([2, 3, 4, 24], (0, 2, 1, 3), [2, 12, 24], [24, 24]), ["Reshape", "Transpose", "Reshape"]),
        (((0, 2, 3, 1), (0, 3, 1, 2)), ["Reshape"]),
        (((0, 2, 3, 1), [2, 24, 12], [2, 24, 12, 1]), ["Reshape", "Transpose"]),
    ],
)
def test_a_chain_becomes_the_shortest_that_does_the_same(steps, left):
    assert op_types(check(chain(*steps), FuseViews(), tolerance=0))[:-1] == left


def test_what_is_short_already_stays():
    steps = [[2, 12, 24], (0, 2, 1)]
    assert op_types(check(chain(*steps), FuseViews(), changed=0))[:-1] == ["Reshape", "Transpose"]


def test_an_inner_value_that_is_read_elsewhere_ends_the_chain():
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    check(model(nodes, {"x": X}, ["y", "a"], opset=13), FuseViews(), changed=0)


def test_an_open_batch_stays():
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    check(model(nodes, {"x": (TensorProto.FLOAT, ["n", 3, 4])}, ["y"], opset=13), FuseViews(), changed=0)


@pytest.mark.parametrize("seed", range(20))
def test_random_chains_stay_what_they_are(seed):
    rng = np.random.default_rng(seed)
    shape, steps = [2, 6, 4, 3], []
    for _ in range(6):
        if rng.random() < 0.5:
            perm = tuple(int(n) for n in rng.permutation(len(shape)))
            shape = [shape[axis] for axis in perm]
            steps.append(perm)
            continue
        left, shape = 144, []
        while left > 1:
            divisors = [n for n in range(2, left + 1) if left % n == 0]
            shape.append(int(rng.choice(divisors)))
            left //= shape[-1]
        steps.append(list(shape))
    proto = chain(*steps, shape=[2, 6, 4, 3])
    from tests.rewrite.helpers import infer, random_inputs, rewritten

    after, _ = rewritten(proto, FuseViews())
    feeds = random_inputs(proto)
    np.testing.assert_array_equal(infer(after, feeds)[0], infer(proto, feeds)[0])
    assert len(after.graph.node) <= len(proto.graph.node)
