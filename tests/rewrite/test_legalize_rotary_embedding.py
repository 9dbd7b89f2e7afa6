"""RotaryEmbedding-23 written out."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_rotary_embedding import LegalizeRotaryEmbedding
from tests.rewrite.helpers import check, model

FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL
RNG = np.random.default_rng(3)


def _values(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 3, 4, 8), (2, 4, 24)])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
@pytest.mark.parametrize("positions", [True, False])
def test_rotary_embedding(shape, interleaved, turned, positions):
    half = (turned or 8) // 2
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": turned}
    if len(shape) == 3:
        attributes["num_heads"] = 3
    cache = (10, half) if positions else (2, 4, half)
    constants = {"c": _values(*cache), "s": _values(*cache)}
    if positions:
        constants["p"] = np.array([[0, 1, 2, 3], [4, 5, 6, 9]])
    node = helper.make_node("RotaryEmbedding", ["x", *constants], ["y"], **attributes)
    proto = model([node], {"x": (FLOAT, shape)}, ["y"], constants, opset=23)
    check(proto, LegalizeRotaryEmbedding())
