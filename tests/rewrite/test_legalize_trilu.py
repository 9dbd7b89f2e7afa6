"""Trilu-14 as a mask."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite.legalize_trilu import LegalizeTrilu
from tests.rewrite.helpers import check, model, random_inputs

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("offset", [None, 0, 1, -2, "computed"])
@pytest.mark.parametrize("shape", [[4, 5], [2, 3, 3], ["n", "r", 4]])
@pytest.mark.parametrize("kind", [FLOAT, TensorProto.INT64, TensorProto.BOOL])
def test_trilu(upper, offset, shape, kind):
    computed = offset == "computed"
    node = helper.make_node("Trilu", ["x"] if offset is None else ["x", "k"], ["y"], upper=upper)
    inputs = {"x": (kind, shape)} | ({"k": (TensorProto.INT64, [])} if computed else {})
    constants = {} if computed or offset is None else {"k": np.int64(offset)}
    proto = model([node], inputs, {"y": kind}, constants, opset=14)
    feeds = random_inputs(proto) | ({"k": np.array(1)} if computed else {})
    check(proto, LegalizeTrilu(), feeds=feeds, tolerance=0)
