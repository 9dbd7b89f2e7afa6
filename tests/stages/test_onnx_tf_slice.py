"""Slices with any static bounds and steps come out right and leave nothing in the file that XNNPACK does not take."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model, random_inputs

FAR = 2**63 - 1
#: starts, ends, axes, steps of slices of [2, 8, 9]
CASES = {
    "range": ([1], [3], [1], None),
    "negative": ([-3], [-1], [-1], None),
    "beyond": ([-20], [FAR], [2], None),
    "two": ([1, 2], [7, 9], [1, 2], None),
    "even": ([0], [FAR], [1], [2]),
    "odd": ([1], [FAR], [1], [2]),
    "partial": ([0], [FAR], [2], [2]),  # 5 of 9: the last block is not whole
    "third": ([2], [FAR], [2], [3]),
    "grid": ([0, 1], [FAR, FAR], [1, 2], [2, 4]),
    "reversed": ([-1], [-FAR], [2], [-1]),
    "backwards": ([6], [0], [1], [-2]),
}


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sliced")
    nodes, constants = [], {}
    for name, (starts, ends, axes, steps) in CASES.items():
        parts = {f"{name}_s": starts, f"{name}_e": ends, f"{name}_a": axes} | ({f"{name}_k": steps} if steps else {})
        constants |= {key: np.array(values, np.int64) for key, values in parts.items()}
        nodes.append(helper.make_node("Slice", ["x", *parts], [f"cut_{name}"], name=f"cut_{name}"))
        nodes.append(helper.make_node("Neg", [f"cut_{name}"], [name], name=name))
    proto = model(nodes, {"x": (TensorProto.FLOAT, [2, 8, 9])}, list(CASES), constants, opset=13)
    current = folder / "net.onnx"
    onnx.save(proto, current)
    with Worker() as worker:
        for stage in (SavedModel(), Tflite(mode="float32")):
            scratch = folder / f"{stage.name}-scratch"
            scratch.mkdir()
            worker.run("edgeconv.stage:execute_payload", to_payload(stage, Job(current, folder / stage.name, scratch)))
            current = folder / stage.name
    return proto, current


def test_every_slice_is_right(sliced):
    from ai_edge_litert.interpreter import Interpreter

    proto, path = sliced
    feeds = random_inputs(proto)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feeds["x"])
    interpreter.invoke()
    for entry, name, wanted in zip(interpreter.get_output_details(), CASES, infer(proto, feeds), strict=True):
        np.testing.assert_array_equal(interpreter.get_tensor(entry["index"]), wanted, err_msg=name)


def test_no_loop_and_no_strided_slice_is_left_where_blocks_are_whole(sliced):
    file = flatbuffer.read(sliced[1])
    ops = [flatbuffer.op_name(file, op) for op in file.subgraphs[0].operators]
    assert len(file.subgraphs) == 1
    assert ops.count("STRIDED_SLICE") == 1  # "partial" alone: it starts at 0, its last block would end past the axis
