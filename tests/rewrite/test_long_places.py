"""Places of GatherND and ScatterND are int64."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper

from edgeconv.rewrite.base import run
from edgeconv.rewrite.long_places import LongPlaces

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def cast(kind):
    scatter = helper.make_node("ScatterND", ["x", "i", "v"], ["y"], reduction="add")
    nodes = [scatter, helper.make_node("GatherND", ["y", "i"], ["z"])]
    given = {"x": (FLOAT, [4, 2]), "i": (kind, [3, 1]), "v": (FLOAT, [3, 2])}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *of) for name, of in given.items()],
        [helper.make_tensor_value_info("z", FLOAT, [3, 2])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = ir.serde.deserialize_model(proto)
    changed = run(model, [LongPlaces()])
    return changed, ir.serde.serialize_model(model)


def test_int32_places_are_cast_and_the_reduction_stays():
    changed, proto = cast(INT32)
    assert changed == {"long_places": 2}
    onnx.checker.check_model(proto, full_check=True)
    x, v = np.arange(8, dtype=np.float32).reshape(4, 2), np.ones((3, 2), np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x, "i": np.array([[2], [0], [2]], np.int32), "v": v})
    x[2], x[0] = x[2] + 2, x[0] + 1
    assert np.array_equal(found, x[[2, 0, 2]])


def test_int64_places_stay():
    assert cast(INT64)[0] == {}
