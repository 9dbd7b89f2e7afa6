"""RMSNormalization-23 written out."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_rms_norm import LegalizeRmsNorm
from tests.rewrite.helpers import check, model

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_any_axis(axis):
    shape = [2, 3, 4]
    scale = RNG.standard_normal(shape[axis:]).astype(np.float32)
    node = helper.make_node("RMSNormalization", ["x", "s"], ["y"], axis=axis, epsilon=1e-3)
    proto = model([node], {"x": (TensorProto.FLOAT, shape)}, ["y"], {"s": scale}, opset=23)

    def reference(x):
        axes = tuple(range(axis % 3, 3))
        return [x / np.sqrt((x * x).mean(axes, keepdims=True) + np.float32(1e-3)) * scale]

    check(proto, LegalizeRmsNorm(), reference=reference)
