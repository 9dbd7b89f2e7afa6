"""Range-27."""

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgeconv.rewrite.legalize_range import LegalizeRange
from tests.rewrite.helpers import check, model

FLOAT = TensorProto.FLOAT


def test_range():
    node = helper.make_node("Range", ["a", "b", "c"], ["y"], stash_type=1)
    constants = {"a": np.float32(0), "c": np.float32(0.5)}
    proto = model([node], {"b": (FLOAT, [])}, ["y"], constants, opset=27)
    reference = ReferenceEvaluator(helper.make_model(_plain_range(), opset_imports=[helper.make_opsetid("", 13)]))
    feeds = {"b": np.float32(3)}
    check(proto, LegalizeRange(), feeds=feeds, reference=lambda b: reference.run(None, {"b": b}))


def _plain_range():
    return helper.make_graph(
        [helper.make_node("Range", ["a", "b", "c"], ["y"])],
        "g",
        [helper.make_tensor_value_info("b", FLOAT, [])],
        [helper.make_tensor_value_info("y", FLOAT, ["n"])],
        [onnx.numpy_helper.from_array(np.float32(v), k) for k, v in (("a", 0), ("c", 0.5))],
    )
