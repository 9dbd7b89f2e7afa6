"""Means of large images in two steps: nearer to the exact ones, in LiteRT."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import model


@pytest.fixture(scope="module")
def worker():
    with Worker() as one:
        yield one


def convert(worker, folder, nodes, *sizes):
    same = helper.make_node("Conv", ["x", "w"], ["c"], name="c")  # an image: channels go last for it
    weight = np.eye(8, dtype=np.float32).reshape(8, 8, *[1] * len(sizes))
    inputs = {"x": (TensorProto.FLOAT, [1, 8, *sizes])}
    proto = model([same, *nodes], inputs, ["y"], {"w": weight}, opset=13)
    current = folder / "net.onnx"
    onnx.save(proto, current)
    for stage in (SavedModel(), Tflite(mode="float32")):
        (folder / f"{stage.name}-scratch").mkdir()
        target = folder / stage.name
        worker.run(
            "edgeconv.stage:execute_payload", to_payload(stage, Job(current, target, folder / f"{stage.name}-scratch"))
        )
        current = target
    file = flatbuffer.read(current)
    return current, [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]


def outputs(path, x):
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(str(path), num_threads=1)
    runtime.allocate_tensors()
    entry = runtime.get_input_details()[0]
    moved = np.moveaxis(x, 1, -1) if entry["shape"][-1] == x.shape[1] else x
    runtime.set_tensor(entry["index"], np.ascontiguousarray(moved))
    runtime.invoke()
    return runtime.get_tensor(runtime.get_output_details()[0]["index"])


POOL = [helper.make_node("GlobalAveragePool", ["c"], ["y"], name="y")]


@pytest.mark.parametrize("sizes", [(112, 112), (24, 24, 24), (2, 112, 112)], ids=["image", "volume", "shallow"])
def test_a_large_images_mean_is_nearer_in_two_steps(worker, tmp_path, sizes):
    path, names = convert(worker, tmp_path, POOL, *sizes)
    assert names.count("MEAN") == 2
    x = np.abs(np.random.default_rng(0).standard_normal((1, 8, *sizes))).astype(np.float32)
    exact = x.astype(np.float64).mean(tuple(range(2, len(sizes) + 2))).ravel()
    error = outputs(path, x).ravel() - exact
    assert 10 * np.log10(np.square(exact).sum() / np.square(error).sum()) > 128  # in one step about 115


def test_a_small_images_mean_stays_one_step(worker, tmp_path):
    assert convert(worker, tmp_path, POOL, 7, 7)[1].count("MEAN") == 1


def test_so_is_the_mean_of_a_square(worker, tmp_path):
    nodes = [
        helper.make_node("Mul", ["c", "c"], ["s"], name="s"),
        helper.make_node("ReduceMean", ["s"], ["y"], name="y", axes=[2, 3], keepdims=1),
    ]
    path, names = convert(worker, tmp_path, nodes, 64, 64)
    assert names.count("MEAN") == 2
    x = np.random.default_rng(0).standard_normal((1, 8, 64, 64)).astype(np.float32)
    exact = np.square(x.astype(np.float64)).mean((2, 3)).ravel()
    error = outputs(path, x).ravel() - exact
    assert 10 * np.log10(np.square(exact).sum() / np.square(error).sum()) > 128
