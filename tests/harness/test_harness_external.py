"""ONNX files whose weights lie beside them: all bytes count, and weights are the same wherever they lie."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.errors import BrokenModelFile
from edgeconv.harness import parts, sizediff
from edgeconv.harness.files import look

QUICK = ("--min-runs", "5", "--min-seconds", "0", "--no-memory", "--no-ops")


@pytest.fixture
def pair(tmp_path):
    """The same two matrices inside the file, and beside it."""
    weights = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    held = [numpy_helper.from_array(each, name) for each, name in zip(weights, "ab", strict=True)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], held),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    inside, beside = tmp_path / "inside.onnx", tmp_path / "beside.onnx"
    onnx.save(model, inside)
    onnx.save(model, beside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return inside, beside


def relocated(path, **entries):
    """Write the file again with other external data entries of its first tensor; None takes one away."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    kept = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def test_bytes_and_digest_cover_the_external_data(pair, tmp_path):
    _, beside = pair
    data = tmp_path / "weights.bin"
    before = look(beside)
    assert before.bytes == beside.stat().st_size + data.stat().st_size > 2 * 4 * 64 * 64
    assert parts.take_apart(beside, "onnx").bytes == before.bytes
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(bytes(content))
    assert look(beside).sha256 != before.sha256
    relocated(beside, length=None)  # up to the end of the file, the next tensor's bytes included
    assert parts.take_apart(beside, "onnx").bytes == look(beside).bytes


def test_equal_weights_are_equal_wherever_they_lie(pair):
    sides = {name: {"path": str(path), "kind": "onnx"} for name, path in zip("ab", pair, strict=True)}
    found = sizediff.diff(sides)
    assert found["unchanged"] == 2
    assert all(row["what"] == "unchanged" for row in found["constants"])
    assert found["found_bytes"] == found["change_bytes"] == look(pair[1]).bytes - look(pair[0]).bytes
    assert abs(found["change_bytes"]) < 500
    one, other = (parts.take_apart(path, "onnx").constants[0].values() for path in pair)
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"location": "gone.bin"}, "lacks its external data: there is no file"),
        ({"location": "../weights.bin"}, "not in its folder"),
        ({"location": "/etc/hostname"}, "not in its folder"),
        ({"offset": "30000"}, "beyond its end"),
        ({"offset": "much"}, "beyond its end"),
    ],
)
def test_data_that_are_not_there_are_one_sentence(pair, entries, says):
    relocated(pair[1], **entries)
    with pytest.raises(BrokenModelFile, match=says):
        look(pair[1])


def test_the_command_counts_and_refuses_the_same(cli, pair, tmp_path):
    record = json.loads(cli("bench", "beside.onnx", "--json", *QUICK).out)
    assert record["bytes"] == look(pair[1]).bytes == sum(part["bytes"] for part in record["parts"])
    (tmp_path / "weights.bin").unlink()
    cli.refuses("bench", "beside.onnx", code=11, says="lacks its external data")
    cli.refuses("compare", "inside.onnx", "beside.onnx", code=11, says="lacks its external data")
    (tmp_path / "text.onnx").write_text("no model")
    assert json.loads(cli("bench", "text.onnx", "--json", *QUICK).out)["error"]["error"] == "MeasurementError"
