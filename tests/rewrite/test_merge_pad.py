"""A pad that no float conv takes in pads rows instead of pixels, and the numbers stay the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import Quantize, SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import model, random_inputs


def convert(folder, *, quantized, compute="int8"):
    """A strided conv with PyTorch's padding on [1, 3, 16, 16]; returns the model, the file and its ops."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="y", strides=[2, 2], pads=[1, 1, 1, 1])]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 16, 16])}, ["y"], constants, opset=13)
    current = folder / "net.onnx"
    onnx.save(proto, current)
    tflite = Tflite(compute=compute) if quantized else Tflite(mode="float32")
    with Worker() as worker:
        for stage in (*([Quantize()] if quantized else []), SavedModel(), tflite):
            scratch = folder / f"{stage.name}-scratch"
            scratch.mkdir()
            worker.run("edgeconv.stage:execute_payload", to_payload(stage, Job(current, folder / stage.name, scratch)))
            current = folder / stage.name
    file = flatbuffer.read(current)
    return proto, current, [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]


def outputs(path, x):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.transpose(0, 2, 3, 1))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("quantized", "compute", "ops"),
    [
        (True, "int8", ["RESHAPE", "PAD", "RESHAPE", "CONV_2D"]),
        (True, "fastest", ["DEQUANTIZE", "PAD", "CONV_2D"]),
        (False, "fastest", ["PAD", "CONV_2D"]),
    ],
)
def test_only_a_pad_before_an_int8_conv_is_merged(tmp_path, quantized, compute, ops):
    import onnxruntime

    proto, path, found = convert(tmp_path, quantized=quantized, compute=compute)
    assert found == ops
    x = random_inputs(proto)["x"]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})[0]
    error = np.linalg.norm(outputs(path, x) - wanted) / np.linalg.norm(wanted)
    assert error < (0.02 if quantized else 1e-5)
