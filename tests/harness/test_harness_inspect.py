"""What a .tflite consists of, and float16 storage."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeconv.api import inspect
from edgeconv.errors import BadOutput, UsageError
from edgeconv.stage import Job, to_payload
from edgeconv.stages import SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model, random_inputs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A conv and a join of a gather, in float32 and float16."""
    folder = tmp_path_factory.mktemp("inspect")
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((16, 3, 3, 3)).astype(np.float32), "i": np.array([3, 1], np.int64)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("Gather", ["c", "i"], ["y"], name="y", axis=1),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, ["y"], constants, opset=13)
    onnx.save(proto, folder / "net.onnx")
    with Worker() as worker:
        made = {}
        for number, (stage, source) in enumerate(
            [(SavedModel(), "net.onnx"), (Tflite(mode="float32"), "0"), (Tflite(mode="float16"), "0")]
        ):
            (folder / f"s{number}").mkdir()
            job = Job(folder / source, folder / str(number), folder / f"s{number}")
            made[number] = worker.run("edgeconv.stage:execute_payload", to_payload(stage, job))
    return proto, folder / "1", folder / "2", made[2]


def test_ops_bytes_and_what_the_delegate_left(files):
    found = inspect(files[1])
    assert found["op_counts"]["CONV_2D"] == 1
    assert found["dtype_bytes"]["FLOAT32"] >= 16 * 27 * 4
    by_op = {row["op"]: row for row in found["ops"]}
    assert by_op["CONV_2D"]["delegated"]
    assert not by_op["GATHER"]["delegated"]
    assert "gather" in by_op["GATHER"]["reason"]
    assert found["inputs"] == [{"name": "x", "dtype": "FLOAT32", "shape": [1, 8, 8, 3]}]
    json.dumps(found)


def test_float16_halves_the_weights_and_keeps_the_numbers(files, tmp_path):
    proto, _, half, notes = files
    assert notes["float16_constants"] == 1
    assert inspect(half)["dtype_bytes"]["FLOAT16"] == 16 * 27 * 2
    feeds = random_inputs(proto)
    reference = tmp_path / "reference.npz"
    np.savez(reference, **{"in/0/x": feeds["x"], "out/0/y": infer(proto, feeds)[0]})
    payload = {
        "artifact": str(half), "reference": str(reference), "threads": 1, "labelled": None, "layouts": notes["layouts"],
    }  # fmt: skip
    for runtime in ("litert", "tflite-runtime"):
        with Worker() as worker:
            result = worker.run("edgeconv.harness.jobs:fidelity", {**payload, "runtime": runtime})
        assert result["parity"]["snr_db"] > 60


def test_no_file_and_no_tflite_file(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        inspect(tmp_path / "none.tflite")
    (tmp_path / "x.tflite").write_bytes(b"something else")
    with pytest.raises(BadOutput, match="not a TFLite file"):
        inspect(tmp_path / "x.tflite")
