from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.errors import BrokenModelFile, InputMismatch
from edgeconv.source import loading, parse_input, parse_reference


def model(opset: int = 17, shape=(1, 4), kind: int = TensorProto.FLOAT, *, old: bool = False) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(64, dtype=np.float32).reshape(4, 16), "w")
    x = helper.make_tensor_value_info("x", kind, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    inputs = [x, helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 16])] if old else [x]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.fixture
def probe(tmp_path):
    def probe(*inputs: str):
        source = parse_reference("m.onnx", base=tmp_path, inputs=tuple(parse_input(one) for one in inputs))
        return loading.probe({"source": source.to_json()})

    return probe


@pytest.fixture
def refused(probe):
    def refused(kind, *inputs: str) -> str:
        with pytest.raises(kind) as caught:
            probe(*inputs)
        assert "\n" not in caught.value.message
        assert caught.value.hint
        return caught.value.message

    return refused


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("old", [False, True])
def test_inputs_are_read_from_the_graph(probe, tmp_path, opset, old):
    onnx.save(model(opset, old=old), tmp_path / "m.onnx")
    snapshot = probe()
    assert snapshot["inputs"] == [{"name": "x", "shape": [1, 4], "dtype": "float32", "low": None, "high": None}]
    assert list(snapshot["files"]) == ["file:m.onnx"]


def test_external_data_is_part_of_the_model(probe, tmp_path):
    onnx.save(model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert list(probe()["files"]) == ["file:m.onnx", "file:w.bin"]


def test_external_data_that_is_missing(refused, tmp_path):
    onnx.save(model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    assert "w.bin" in refused(BrokenModelFile)


@pytest.mark.parametrize("keep", [0, 1, 10, 100, -1, -40])
def test_a_truncated_file(refused, tmp_path, keep):
    onnx.save(model(), tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:keep])
    assert "m.onnx" in refused(BrokenModelFile)


@pytest.mark.parametrize("content", [b"hello, world", b"\x00" * 1000, b"PK\x03\x04" + bytes(50), b"\xff" * 64, b"{}"])
def test_a_file_that_is_no_onnx(refused, tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    assert "m.onnx" in refused(BrokenModelFile)


def test_a_free_dimension_must_be_declared(probe, refused, tmp_path):
    onnx.save(model(shape=("batch", 4)), tmp_path / "m.onnx")
    assert refused(InputMismatch) == "the ONNX input 'x' has no fixed shape (batchx4)"
    assert probe("x=3x4:float32:0..1")["inputs"][0]["shape"] == [3, 4]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("y=1x4", "the ONNX graph has no input 'y'"),
        ("w=4x4", "the ONNX graph has no input 'w'"),
        ("x=1x5", "wants float32[1, 4]"),
        ("x=4", "wants float32[1, 4]"),
        ("x=1x4:int64", "--input x is int64[1, 4], the ONNX graph wants float32[1, 4]"),
    ],
)
def test_inputs_that_do_not_fit(refused, tmp_path, spec, says):
    onnx.save(model(), tmp_path / "m.onnx")
    assert says in refused(InputMismatch, spec)


def test_inputs_that_no_target_takes(refused, tmp_path):
    onnx.save(model(kind=TensorProto.BFLOAT16), tmp_path / "m.onnx")
    assert "bfloat16" in refused(InputMismatch)
    onnx.save(model(kind=TensorProto.STRING), tmp_path / "m.onnx")
    assert "which no target takes" in refused(InputMismatch)
    onnx.save(model(shape=None), tmp_path / "m.onnx")
    assert "no tensor of known rank" in refused(InputMismatch)
    sequence = model()
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    sequence.graph.input[0].CopyFrom(helper.make_value_info("x", helper.make_sequence_type_proto(tensor)))
    onnx.save(sequence, tmp_path / "m.onnx")
    assert "no tensor of known rank" in refused(InputMismatch)
