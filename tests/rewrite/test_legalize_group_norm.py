"""GroupNormalization written out, in the forms of opsets 18 and 21."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_group_norm import LegalizeGroupNorm
from tests.rewrite.helpers import check, model

RNG = np.random.default_rng(1)


def _reference(groups, scale, bias, epsilon=1e-5):
    def run(x, s=scale, b=bias):
        rows = x.reshape(x.shape[0], groups, -1).astype(np.float64)
        normal = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + epsilon)
        s, b = (np.repeat(v, x.shape[1] // len(v)).reshape(-1, *[1] * (x.ndim - 2)) for v in (s, b))
        return [(normal.reshape(x.shape) * s + b).astype(x.dtype)]

    return run


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("shape", [[2, 6, 4, 5], [2, 6, 4], ["n", 6, 3, 3], [2, 6, "h", "w"]])
@pytest.mark.parametrize("constant", [True, False])
def test_forms_agree(opset, shape, constant):
    groups = 3
    size = groups if opset == 18 else 6
    values = {key: RNG.standard_normal(size).astype(np.float32) for key in "sb"}
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=groups)
    inputs = {"x": (TensorProto.FLOAT, shape)}
    feeds = {"x": RNG.standard_normal([d if isinstance(d, int) else 4 for d in shape]).astype(np.float32)}
    if not constant:
        inputs |= {key: (TensorProto.FLOAT, [size]) for key in "sb"}
        feeds |= values
    proto = model([node], inputs, ["y"], values if constant else {}, opset=opset)
    check(proto, LegalizeGroupNorm(), feeds=feeds, reference=_reference(groups, values["s"], values["b"]))


def test_one_group_a_channel():
    values = {key: RNG.standard_normal(4).astype(np.float32) for key in "sb"}
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=4)
    proto = model([node], {"x": (TensorProto.FLOAT, [2, 4, 5])}, ["y"], values, opset=18)
    check(proto, LegalizeGroupNorm(), reference=_reference(4, values["s"], values["b"]))
