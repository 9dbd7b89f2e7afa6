"""A FULLY_CONNECTED written as a conv gives the same numbers, in both runtimes, whatever its rows."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.harness.inspect import inspect
from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import Quantize, SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model, random_inputs


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Two dense layers with activations between, on [1, 7, 32], quantized and converted in a worker."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((32, 48)).astype(np.float32) * rng.uniform(0.1, 5, 48).astype(np.float32),
        "b": rng.standard_normal(48).astype(np.float32),
        "v": rng.standard_normal((48, 16)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="p"),
        helper.make_node("Add", ["p", "b"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["r"], name="r"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="y"),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 7, 32])}, ["y"], constants, opset=13)
    return proto, *converted(proto, tmp_path_factory.mktemp("tokens"))


def converted(proto, folder):
    """Path of the .tflite, and the last stage's notes."""
    current = folder / "net.onnx"
    onnx.save(proto, current)
    with Worker() as worker:
        for stage, name in ((Quantize(), "q.onnx"), (SavedModel(), "saved"), (Tflite(compute="int8"), "net.tflite")):
            scratch = folder / f"{stage.name}-scratch"
            scratch.mkdir()
            notes = worker.run(
                "edgeconv.stage:execute_payload", to_payload(stage, Job(current, folder / name, scratch))
            )
            current = folder / name
    return current, notes


def test_a_bias_that_comes_with_axes_becomes_flat_and_stays_in_the_delegate(tmp_path):
    """A layer scale behind a transpose, as in ConvNeXt: TFLite's converter gives the bias its shape, [1, 1, 1, O]."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((32, 48)).astype(np.float32),
        "b": rng.standard_normal(48).astype(np.float32),
        "scale": rng.uniform(0.1, 1, (48, 1, 1)).astype(np.float32),
        "k": rng.standard_normal((48, 1, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="p"),
        helper.make_node("Add", ["p", "b"], ["a"], name="a"),
        helper.make_node("Transpose", ["a"], ["t"], name="t", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["scale", "t"], ["m"], name="m"),
        helper.make_node("Conv", ["m", "k"], ["y"], name="y", group=48),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 5, 7, 32])}, ["y"], constants, opset=13)
    path, _ = converted(proto, tmp_path)
    file = flatbuffer.read(path)
    graph = file.subgraphs[0]
    biases = [graph.tensors[int(op.inputs[2])] for op in graph.operators if flatbuffer.op_name(file, op) == "CONV_2D"]
    assert [list(bias.shape) for bias in biases] == [[48]]
    report = inspect({"artifact": str(path)})
    assert report["partitions"] == 1
    assert all(op["delegated"] for op in report["ops"])


def test_no_fully_connected_is_left_and_every_weight_is_carried(tokens):
    _, path, notes = tokens
    file = flatbuffer.read(path)
    ops = [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]
    assert ops == ["RESHAPE", "CONV_2D", "CONV_2D", "RESHAPE"]
    assert notes["carried_exactly"] == notes["quantized_weights"] == 2


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_the_numbers_are_the_float_models_within_quantization_noise(tokens, tmp_path, runtime):
    proto, path, _ = tokens
    feeds = random_inputs(proto)
    arrays = {"in/0/x": feeds["x"], "out/0/y": infer(proto, feeds)[0]}
    np.savez(tmp_path / "reference.npz", **arrays)
    payload = {
        "runtime": runtime, "artifact": str(path), "reference": str(tmp_path / "reference.npz"), "threads": 1,
        "labelled": None,
    }  # fmt: skip
    with Worker() as worker:
        result = worker.run("edgeconv.harness.jobs:fidelity", payload)
    assert result["parity"]["snr_db"] > 35, json.dumps(result["parity"])
