"""Factors that widen what they multiply, before a product with weights: the .tflite exists, and computes the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.spell_wide import SpellWide
from edgeconv.stage import Job, to_payload
from edgeconv.stages import SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import check, model
from tests.rewrite.test_split_mean import outputs

RANDOM = np.random.default_rng(0)


def node(op, *inputs):
    return helper.make_node(op, list(inputs), ["y"], name="y")


@pytest.mark.parametrize(
    ("made", "shape", "factor"),
    [
        (node("Mul", "x", "w"), [2, 5, 1], (4,)),
        (node("Mul", "w", "x"), [2, 5, 1], (5, 4)),
        (node("Div", "x", "w"), [5, 1], (4,)),
        (node("MatMul", "x", "w"), [2, 5, 1], (1, 4)),
        (node("MatMul", "x", "w"), ["n", 5, 1], (1, 4)),
    ],
    ids=["factor", "left", "divisor", "product", "open batch"],
)
def test_the_constant_has_all_axes(made, shape, factor):
    weight = RANDOM.uniform(0.5, 2, factor).astype(np.float32)
    proto = model([made], {"x": (TensorProto.FLOAT, shape)}, ["y"], {"w": weight}, opset=13)
    found = check(proto, SpellWide())
    wide = [one for one in found.graph.initializer if one.name.endswith("wide") or "wide" in one.name]
    assert [len(one.dims) for one in wide] == [len(shape)]


@pytest.mark.parametrize(
    ("made", "shape", "factor"),
    [
        (node("Mul", "x", "w"), [2, 5, 4], (4,)),
        (node("Div", "w", "x"), [5, 1], (4,)),
        (node("MatMul", "x", "w"), [5, 1], (1, 4)),
        (node("MatMul", "x", "w"), [2, 5, 3], (3, 4)),
        (node("Mul", "x", "w"), [2, 5, 1], (1,)),
    ],
    ids=["as wide", "dividend", "matrices", "three features", "scalar"],
)
def test_others_stay(made, shape, factor):
    weight = RANDOM.uniform(0.5, 2, factor).astype(np.float32)
    proto = model([made], {"x": (TensorProto.FLOAT, shape)}, ["y"], {"w": weight}, opset=13)
    assert [one.op_type for one in check(proto, SpellWide(), changed=0).graph.node] == [made.op_type]


@pytest.mark.parametrize("first", ["Mul", "Div", "MatMul"])
def test_the_converter_takes_a_linear_behind_it(tmp_path, first):
    factor = RANDOM.uniform(0.5, 2, (1, 4) if first == "MatMul" else (4,)).astype(np.float32)
    weight = RANDOM.standard_normal((4, 3)).astype(np.float32)
    nodes = [
        helper.make_node(first, ["x", "f"], ["p"], name="p"),
        helper.make_node("Add", ["p", "b"], ["a"], name="a"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="y"),
    ]
    constants = {"f": factor, "w": weight, "b": np.arange(4, dtype=np.float32)}
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 10, 1])}, ["y"], constants, opset=13)
    current = tmp_path / "net.onnx"
    onnx.save(proto, current)
    with Worker() as worker:
        for stage in (SavedModel(), Tflite(mode="float32")):
            scratch, target = tmp_path / f"{stage.name}-scratch", tmp_path / stage.name
            scratch.mkdir()
            worker.run("edgeconv.stage:execute_payload", to_payload(stage, Job(current, target, scratch)))
            current = target
    x = RANDOM.standard_normal((1, 10, 1)).astype(np.float32)
    product = x / factor if first == "Div" else x * factor.reshape(-1)
    np.testing.assert_allclose(outputs(current, x), (product + constants["b"]) @ weight, rtol=1e-5, atol=1e-5)
