"""Instance and group norms as means and products: the same numbers, and no transpose around them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite import flatbuffer
from edgeconv.rewrite.spell_instance_norm import SpellInstanceNorm
from edgeconv.stage import Job, to_payload
from edgeconv.stages import SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model, random_inputs, rewritten

RNG = np.random.default_rng(0)
CHANNELS = 6


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def instance_norm(source, result):
    node = helper.make_node("InstanceNormalization", [source, "scale", "bias"], [result], name="norm", epsilon=1e-3)
    return [node], {"scale": normal(CHANNELS), "bias": normal(CHANNELS)}


def group_norm(source, result, shape, groups, *, affine=True):
    """As torch.onnx.export writes it."""
    gain = [CHANNELS, *[1] * (len(shape) - 2)]
    nodes = [
        helper.make_node("Reshape", [source, "rows"], ["view"], name="view"),
        helper.make_node("InstanceNormalization", ["view", "ones", "zeros"], ["normal"], name="norm", epsilon=1e-3),
        helper.make_node("Reshape", ["normal", "shape"], ["back" if affine else result], name="back"),
    ]
    constants = {
        "rows": np.array([shape[0], groups, -1]), "shape": np.array(shape), "ones": np.ones(groups, np.float32),
        "zeros": np.zeros(groups, np.float32),
    }  # fmt: skip
    if affine:
        nodes.append(helper.make_node("Mul", ["back", "gamma"], ["scaled"], name="scaled"))
        nodes.append(helper.make_node("Add", ["scaled", "beta"], [result], name="shifted"))
        constants |= {"gamma": normal(*gain), "beta": normal(*gain)}
    return nodes, constants


@pytest.mark.parametrize("shape", [[2, CHANNELS, 9, 8], [1, CHANNELS, 11], [1, CHANNELS, 3, 4, 5]])
def test_instance_norm(shape):
    nodes, constants = instance_norm("x", "y")
    same(model(nodes, {"x": (TensorProto.FLOAT, shape)}, ["y"], constants, opset=13))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
@pytest.mark.parametrize("shape", [[2, CHANNELS, 9, 8], [1, CHANNELS, 11]])
def test_group_norm(shape, groups, affine):
    nodes, constants = group_norm("x", "y", shape, groups, affine=affine)
    same(model(nodes, {"x": (TensorProto.FLOAT, shape)}, ["y"], constants, opset=13))


def same(proto):
    after, counts = rewritten(proto, SpellInstanceNorm())
    assert counts == {"spell_instance_norm": 1}
    feeds = random_inputs(proto)
    np.testing.assert_allclose(infer(after, feeds)[0], infer(proto, feeds)[0], rtol=1e-4, atol=1e-5)


def test_a_norm_whose_view_something_else_reads_too_keeps_its_numbers():
    nodes, constants = group_norm("x", "y", [1, CHANNELS, 4, 4], 2)
    nodes.append(helper.make_node("Neg", ["normal"], ["z"], name="z"))
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, CHANNELS, 4, 4])}, ["y", "z"], constants, opset=13)
    after, _ = rewritten(proto, SpellInstanceNorm())
    feeds = random_inputs(proto)
    for found, wanted in zip(infer(after, feeds), infer(proto, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["instance", "group"])
def test_between_convs_no_transpose_is_left(tmp_path, kind):
    shape = [1, CHANNELS, 8, 8]
    nodes, constants = instance_norm("c", "n") if kind == "instance" else group_norm("c", "n", shape, 3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1, 1, 1, 1]), *nodes,
        helper.make_node("Conv", ["n", "w"], ["y"], name="y", pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    proto = model(
        nodes, {"x": (TensorProto.FLOAT, shape)}, ["y"], constants | {"w": normal(CHANNELS, CHANNELS, 3, 3)}, opset=13
    )
    current = tmp_path / "net.onnx"
    onnx.save(proto, current)
    with Worker() as worker:
        for stage in (SavedModel(), Tflite(mode="float32")):
            (tmp_path / f"{stage.name}-scratch").mkdir()
            job = Job(current, tmp_path / stage.name, tmp_path / f"{stage.name}-scratch")
            worker.run("edgeconv.stage:execute_payload", to_payload(stage, job))
            current = job.destination
    file = flatbuffer.read(current)
    names = [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]
    assert "TRANSPOSE" not in names
    assert names.count("CONV_2D") == 2
