"""BatchNormalization-15 that only normalizes."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from edgeconv.rewrite.base import refused
from edgeconv.rewrite.legalize_batch_norm import LegalizeBatchNorm
from tests.rewrite.helpers import check, model

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(2)


def _values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def _refusal(proto, one):
    graph = ir.from_proto(proto)
    assert one.apply(graph) == 0
    return refused(graph)[0][1]


def test_batch_norm():
    constants = {key: np.abs(_values(3)) for key in "sbmv"}
    node = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y"], training_mode=0, epsilon=1e-3)
    check(model([node], {"x": (FLOAT, [2, 3, 4])}, ["y"], constants, opset=15), LegalizeBatchNorm())


def test_batch_norm_that_trains_is_refused():
    constants = {key: np.abs(_values(3)) for key in "sbmv"}
    node = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y", "n", "w"], training_mode=1)
    proto = model([node], {"x": (FLOAT, [2, 3, 4])}, ["y", "n", "w"], constants, opset=15)
    assert "eval()" in _refusal(proto, LegalizeBatchNorm())
