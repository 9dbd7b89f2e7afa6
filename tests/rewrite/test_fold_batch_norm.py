"""Batch norms folded into what is before them: the same numbers, and each weight rounded once."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.fold_batch_norm import FoldBatchNorm
from tests.rewrite.helpers import infer, model, random_inputs, rewritten

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def net(op, shape, weight, channels, *, bias, **attributes):
    constants = {
        "w": weight, "gamma": normal(channels), "beta": normal(channels), "mean": normal(channels),
        "var": RNG.uniform(0.1, 3, channels).astype(np.float32),
    }  # fmt: skip
    if bias:
        constants["b"] = normal(channels)
    nodes = [
        helper.make_node(op, ["x", "w", *["b"] * bias], ["c"], name="c", **attributes),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["y"], name="y", epsilon=1e-3),
    ]
    return model(nodes, {"x": (TensorProto.FLOAT, shape)}, ["y"], constants, opset=13), constants


CASES = [
    ("Conv", [2, 6, 9, 8], (4, 6, 3, 3), 4, {"pads": [1, 1, 1, 1]}),
    ("Conv", [2, 6, 9, 8], (12, 1, 3, 3), 12, {"group": 6}),
    ("Conv", [2, 6, 9], (4, 6, 3), 4, {}),
    ("ConvTranspose", [2, 6, 5, 5], (6, 4, 2, 2), 4, {"strides": [2, 2]}),
    ("ConvTranspose", [2, 6, 5, 5], (6, 4, 2, 2), 8, {"strides": [2, 2], "group": 2}),
    ("Gemm", [3, 5], (5, 7), 7, {"alpha": 0.5, "beta": 2.0}),
    ("Gemm", [3, 5], (7, 5), 7, {"transB": 1}),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("op", "shape", "weight", "channels", "attributes"), CASES)
def test_the_numbers_stay(op, shape, weight, channels, attributes, bias):
    proto, _ = net(op, shape, normal(*weight), channels, bias=bias, **attributes)
    after, counts = rewritten(proto, FoldBatchNorm())
    assert counts == {"fold_batch_norm": 1}
    assert [node.op_type for node in after.graph.node] == [op]
    feeds = random_inputs(proto)
    np.testing.assert_allclose(infer(after, feeds)[0], infer(proto, feeds)[0], rtol=1e-4, atol=1e-5)


def test_each_weight_is_the_exact_one_rounded_once():
    proto, given = net("Conv", [1, 6, 5, 5], normal(4, 6, 3, 3), 4, bias=False)
    after, _ = rewritten(proto, FoldBatchNorm())
    found = next(np.frombuffer(t.raw_data, np.float32) for t in after.graph.initializer if len(t.dims) == 4)
    wide = {name: array.astype(np.float64) for name, array in given.items()}
    exact = wide["w"] * (wide["gamma"] / np.sqrt(wide["var"] + np.float64(np.float32(1e-3))))[:, None, None, None]
    assert np.array_equal(found, exact.astype(np.float32).ravel())


def test_a_conv_that_something_else_reads_stays():
    proto, _ = net("Conv", [1, 6, 5, 5], normal(4, 6, 3, 3), 4, bias=False)
    proto.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 4, 3, 3]))
    _, counts = rewritten(proto, FoldBatchNorm())
    assert counts == {}
