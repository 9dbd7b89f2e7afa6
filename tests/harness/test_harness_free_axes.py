"""The user's arrays where a file leaves an axis open: measured at their size, and what is fixed stays fixed."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.harness import fitting
from edgeconv.rewrite import flatbuffer
from scripts.selftest_models import conv_chain

QUICK = ("--min-runs", "5", "--min-seconds", "0", "--json")


def open_conv(path):
    """A .tflite float32 [any, 8, 8, 4]."""
    conv_chain(path, 2, size=8, channels=4)
    model = flatbuffer.read(path)
    for tensor in model.subgraphs[0].tensors:
        if list(tensor.shape) == [1, 8, 8, 4]:
            tensor.shapeSignature = [-1, 8, 8, 4]
    flatbuffer.write(model, path)


def matmul(path, axis):
    """An .onnx float32 [axis, 8]: a name, or None for none."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [axis, 8]) for name in ("x", "y")]
    held = [numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("axis", ["N", None])
def test_an_onnx_is_measured_at_the_arrays_size(cli, tmp_path, axis):
    matmul(tmp_path / "m.onnx", axis)
    np.save(tmp_path / "x.npy", np.ones((4, 8), np.float32))
    record = json.loads(cli("bench", "m.onnx", "--inputs", "x.npy", *QUICK).out)
    assert record["inputs"][0]["shape"] == [4, 8]
    assert record["ops"]["reason"] is record["memory"]["reason"] is record["error"] is None
    np.save(tmp_path / "x.npy", np.ones((4, 9), np.float32))
    cli.refuses(
        "bench", "m.onnx", "--inputs", "x.npy", code=10, says="is float32[4, 9], the file takes float32[any, 8]"
    )
    np.save(tmp_path / "x.npy", np.ones((0, 8), np.float32))
    cli.refuses("bench", "m.onnx", "--inputs", "x.npy", code=10, says="is empty: [0, 8]")


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_a_tflite_is_resized(cli, tmp_path, runtime):
    open_conv(tmp_path / "net.tflite")
    np.save(tmp_path / "x.npy", np.ones((16, 8, 8, 4), np.float32))
    options = ("--runtime", runtime, *QUICK)
    record = json.loads(cli("bench", "net.tflite", "--inputs", "x.npy", *options).out)
    assert record["inputs"][0]["shape"] == [16, 8, 8, 4]
    assert record["error"] is None
    if runtime == "tflite-runtime":
        assert record["ops"]["reason"] is None
    np.save(tmp_path / "x.npy", np.ones((16, 8, 9, 4), np.float32))
    cli.refuses("bench", "net.tflite", "--inputs", "x.npy", *options[:2], code=10, says="takes float32[any, 8, 8, 4]")


@pytest.mark.slow
def test_files_are_held_against_each_other_at_that_size_too(cli, tmp_path):
    matmul(tmp_path / "m.onnx", "N")
    array = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    np.savez(tmp_path / "x.npz", x=array)
    np.savez(tmp_path / "reference.npz", x=array, y=array)
    quick = ("--inputs", "x.npz", "--rounds", "8", "--block-seconds", "0.01", "--json")
    fidelity = json.loads(cli("compare", "m.onnx", "m.onnx", "--reference", "reference.npz", *quick).out)["fidelity"]
    assert (fidelity["verdict"], fidelity["b"]["snr_db"]) == ("same", 200)
    fidelity = json.loads(cli("compare", "m.onnx", "m.onnx", *quick).out)["fidelity"]
    assert fidelity["b"]["snr_db"] == 200


def test_free_axes_fit_any_size_in_any_layout():
    assert fitting.fit(np.zeros((4, 3, 8, 8)), [1, 8, 8, 3], [0]).shape == (4, 8, 8, 3)
    assert fitting.fit(np.zeros((4, 3, 8, 8)), [1, 8, 8, 3]) is None
