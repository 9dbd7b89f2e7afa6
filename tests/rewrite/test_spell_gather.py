"""Gathers of neighbouring entries become slices; others stay."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_batch_norm import SpellBatchNorm
from edgeconv.rewrite.spell_gather import SpellGather
from edgeconv.rewrite.spell_global_pool import SpellGlobalPool
from tests.rewrite.helpers import check, model, op_types

X = {"x": (TensorProto.FLOAT, [2, 5, 3])}


@pytest.mark.parametrize(
    "indices", [np.int64(0), np.int64(-1), np.array([1, 2, 3]), np.array([-2, -1]), np.array([[0, 1], [2, 3]])]
)
def test_neighbours_become_a_slice(indices):
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=1)
    after = check(model([node], X, ["y"], {"i": np.asarray(indices, np.int64)}, opset=13), SpellGather())
    assert "Gather" not in op_types(after)


@pytest.mark.parametrize("indices", [[2, 0], [1, 1], [[0, 2]]])
def test_scattered_entries_stay(indices):
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=1)
    check(model([node], X, ["y"], {"i": np.array(indices, np.int64)}, opset=13), SpellGather(), changed=0)


def test_a_batch_norm_becomes_a_product_and_a_sum():
    rng = np.random.default_rng(0)
    constants = {n: rng.uniform(0.5, 2, 5).astype(np.float32) for n in ("g", "b", "m", "v")}
    node = helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], epsilon=1e-3)
    assert op_types(check(model([node], X, ["y"], constants, opset=13), SpellBatchNorm())) == ["Mul", "Add"]


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools_become_reductions(op):
    node = helper.make_node(op, ["x"], ["y"])
    after = check(model([node], {"x": (TensorProto.FLOAT, [1, 3, 4, 5])}, ["y"], opset=13), SpellGlobalPool())
    assert op_types(after)[0].startswith("Reduce")
