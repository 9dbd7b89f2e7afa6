"""Large depthwise convs as sums of small ones: the same numbers, float and int8, in LiteRT."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite import flatbuffer
from edgeconv.rewrite.split_depthwise import MOST_TAPS, windows
from edgeconv.stage import Job, to_payload
from edgeconv.stages import Quantize, SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model, random_inputs


@pytest.mark.parametrize("size", [(7, 7), (9, 9), (31, 31), (3, 40), (11, 2), (6, 5)])
def test_windows_cover_the_kernel_once_and_are_small(size):
    seen = np.zeros(size, int)
    for part in windows(*size):
        assert part.rows * part.columns <= MOST_TAPS
        seen[part.row : part.row + part.rows, part.column : part.column + part.columns] += 1
    assert (seen == 1).all()


def test_parts_fill_the_kernels_that_xnnpack_has():
    parts = windows(7, 7)
    assert sorted(part.rows * part.columns for part in parts) == [4, 21, 24]
    assert len(windows(31, 31)) < 31 * 2


@pytest.fixture(scope="module")
def worker():
    with Worker() as one:
        yield one


def convert(worker, folder, attributes, kernel, *, quantized):
    weight = np.random.default_rng(0).standard_normal((8, 1, *kernel)).astype(np.float32)
    constants = {"w": weight, "b": np.arange(8, dtype=np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="c", group=8, **attributes),
        helper.make_node("Relu", ["c"], ["y"], name="y"),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 8, 15, 13])}, ["y"], constants, opset=13)
    current = folder / "net.onnx"
    onnx.save(proto, current)
    mode = "dynamic" if quantized else "float32"
    stages = [Quantize()] * quantized + [SavedModel(), Tflite(mode=mode)]
    for stage in stages:
        (folder / f"{stage.name}-scratch").mkdir()
        target = folder / stage.name
        notes = worker.run(
            "edgeconv.stage:execute_payload", to_payload(stage, Job(current, target, folder / f"{stage.name}-scratch"))
        )
        current = target
    return proto, current, notes


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ({"pads": [3, 3, 3, 3]}, (7, 7)),
        ({"pads": [3, 3, 3, 3], "strides": [2, 2]}, (7, 7)),
        ({"pads": [6, 4, 6, 4], "dilations": [2, 1]}, (7, 9)),
        ({}, (9, 11)),
        ({"pads": [3, 2, 1, 4]}, (7, 7)),
        ({"pads": [3, 3, 3, 3], "strides": [3, 3]}, (7, 7)),
        ({"pads": [14, 12, 14, 12]}, (29, 25)),
    ],
)
def test_the_numbers_stay(worker, tmp_path, attributes, kernel, quantized):
    proto, path, notes = convert(worker, tmp_path, attributes, kernel, quantized=quantized)
    assert notes["depthwise_split"] == 1
    file = flatbuffer.read(path)
    graph = file.subgraphs[0]
    for op in graph.operators:
        if flatbuffer.op_name(file, op) == "DEPTHWISE_CONV_2D":
            assert np.prod(graph.tensors[op.inputs[1]].shape[1:3]) <= MOST_TAPS
    feeds = random_inputs(proto)
    reference = tmp_path / "reference.npz"
    np.savez(reference, **{"in/0/x": feeds["x"], "out/0/y": infer(proto, feeds)[0]})
    payload = {
        "runtime": "litert", "artifact": str(path), "reference": str(reference), "threads": 1, "labelled": None,
        "layouts": notes["layouts"],
    }  # fmt: skip
    snr = worker.run("edgeconv.harness.jobs:fidelity", payload)["parity"]["snr_db"]
    assert snr > (35 if quantized else 110)


def test_a_window_that_reaches_past_the_image_on_both_sides_stays_whole(worker, tmp_path):
    _, _, notes = convert(worker, tmp_path, {"pads": [20, 15, 20, 15]}, (41, 31), quantized=True)
    assert notes["depthwise_split"] == 0


def test_pads_go_into_the_convs_and_only_the_outer_parts_read_slices(worker, tmp_path):
    _, path, _ = convert(worker, tmp_path, {"pads": [3, 3, 3, 3]}, (7, 7), quantized=False)
    file = flatbuffer.read(path)
    names = [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]
    assert {name: names.count(name) for name in set(names)} == {
        "DEPTHWISE_CONV_2D": 3, "PAD": 3, "SLICE": 2, "ADD": 2
    }  # fmt: skip


def test_the_parts_hold_the_whole_weights_integers_and_scales(worker, tmp_path):
    _, path, notes = convert(worker, tmp_path, {"pads": [3, 3, 3, 3]}, (7, 7), quantized=True)
    assert notes["carried_exactly"] == 1
    file = flatbuffer.read(path)
    parts = [
        t for t in file.subgraphs[0].tensors if (a := flatbuffer.constant(file, t)) is not None and a.dtype == np.int8
    ]
    assert sum(flatbuffer.constant(file, t).size for t in parts) == 8 * 49
    assert all(np.array_equal(t.quantization.scale, parts[0].quantization.scale) for t in parts)
