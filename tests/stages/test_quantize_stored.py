"""Embedding tables and transposed convs are int8 in the file, bit for bit, and computed in float."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import Quantize, SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model

RNG = np.random.default_rng(0)


def table():
    """Token ids to vectors, and a dense layer on them."""
    constants = {
        "t": RNG.standard_normal((50, 16)).astype(np.float32),
        "w": RNG.standard_normal((16, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["t", "x"], ["e"], name="embed"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="dense"),
    ]
    return model(nodes, {"x": (TensorProto.INT64, [1, 7])}, ["y"], constants, opset=13), RNG.integers(0, 50, (1, 7))


def upward():
    """A conv and a transposed one."""
    constants = {
        "c": RNG.standard_normal((12, 4, 3, 3)).astype(np.float32), "u": RNG.standard_normal((12, 6, 2, 2)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"], name="down", pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "u"], ["y"], name="up", strides=[2, 2]),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 4, 6, 6])}, ["y"], constants, opset=13)
    return proto, RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module", params=[table, upward], ids=["table", "upward"])
def converted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    proto, x = request.param()
    current, notes = folder / "net.onnx", {}
    onnx.save(proto, current)
    with Worker() as worker:
        for stage in (Quantize(), SavedModel(), Tflite()):
            scratch = folder / f"{stage.name}-scratch"
            scratch.mkdir()
            job = Job(current, folder / stage.name, scratch)
            notes[stage.name] = worker.run("edgeconv.stage:execute_payload", to_payload(stage, job))
            current = folder / stage.name
    return proto, x, current, notes


def test_the_integers_in_the_graph_are_the_integers_in_the_file(converted):
    _, _, path, notes = converted
    graph = onnx.load(path.with_name("quantize")).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (node,) = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    q = arrays[node.input[0]].astype(np.int16) - 128
    if q.ndim == 4:
        q = q.transpose(1, 2, 3, 0)  # [I, O, H, W] → TFLite's [O, H, W, I]
    file = flatbuffer.read(path)
    stored = [
        (a, tensor) for tensor in file.subgraphs[0].tensors
        if (a := flatbuffer.constant(file, tensor)) is not None and a.dtype == np.int8 and a.shape == q.shape
    ]  # fmt: skip
    ((integers, tensor),) = stored
    np.testing.assert_array_equal(integers, q)
    np.testing.assert_allclose(tensor.quantization.scale, arrays[node.input[1]], rtol=1e-6)
    assert (
        notes["tflite"]["carried_exactly"] == notes["tflite"]["quantized_weights"] == notes["quantize"]["weights"] == 2
    )


def test_it_computes_what_the_float_graph_does(converted):
    from ai_edge_litert.interpreter import Interpreter

    proto, x, path, _ = converted
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], (x.transpose(0, 2, 3, 1) if x.ndim == 4 else x).astype(entry["dtype"]))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
    wanted = infer(proto, {"x": x})[0]
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.02


def test_a_filter_that_a_conv_shares_with_a_transposed_one_is_int8_for_the_conv_alone(tmp_path):
    """Anti-aliased activations go down and up through the same filter, one a channel, again and again."""
    taps = RNG.standard_normal((16, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "f"], ["low"], name="down", strides=[2, 2], group=16),
        helper.make_node("ConvTranspose", ["low", "f"], ["y"], name="up", strides=[2, 2], group=16),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 16, 6, 6])}, ["y"], {"f": taps}, opset=13)
    onnx.save(proto, tmp_path / "net.onnx")
    (tmp_path / "scratch").mkdir()
    Quantize().execute(Job(tmp_path / "net.onnx", tmp_path / "quantized.onnx", tmp_path / "scratch"))
    quantized = onnx.load(tmp_path / "quantized.onnx")
    up = next(node for node in quantized.graph.node if node.op_type == "ConvTranspose")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    assert np.array_equal(held[up.input[1]], taps)
    assert [node.op_type for node in quantized.graph.node].count("ConvInteger") == 1
    x = RNG.standard_normal((1, 16, 6, 6)).astype(np.float32)
    wanted, found = infer(proto, {"x": x})[0], infer(quantized, {"x": x})[0]
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_a_codebook_that_is_multiplied_with_and_looked_up_in_is_int8_for_the_product_alone(tmp_path):
    book = RNG.standard_normal((16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["near"], name="product"),
        helper.make_node("Mul", ["w", "g"], ["scaled"], name="scaled"),
        helper.make_node("Add", ["near", "scaled"], ["y"], name="sum"),
    ]
    inputs = {"x": (TensorProto.FLOAT, [16, 16]), "g": (TensorProto.FLOAT, [16, 16])}
    proto = model(nodes, inputs, ["y"], {"w": book}, opset=13)
    onnx.save(proto, tmp_path / "net.onnx")
    (tmp_path / "scratch").mkdir()
    Quantize().execute(Job(tmp_path / "net.onnx", tmp_path / "quantized.onnx", tmp_path / "scratch"))
    quantized = onnx.load(tmp_path / "quantized.onnx")
    assert [node.op_type for node in quantized.graph.node].count("MatMulInteger") == 1
    feeds = {name: RNG.standard_normal((16, 16)).astype(np.float32) for name in inputs}
    wanted, found = infer(proto, feeds)[0], infer(quantized, feeds)[0]
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
