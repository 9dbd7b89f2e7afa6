"""The four stages on the bundled sample, in this process, read back with the real libraries."""

import filecmp
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeconv.errors import BadOutput
from edgeconv.rewrite import carry_int8, flatbuffer
from edgeconv.source import parse_reference
from edgeconv.stage import Job, to_payload
from edgeconv.stages import Onnx, Quantize, SavedModel, Tflite
from edgeconv.stages.saved_model import SIDECAR
from edgeconv.worker import Worker
from tests.stages.chain_helpers import run_stages


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    source = parse_reference("edgeconv.models.sample:digits", base=folder)
    return run_stages(source, [Onnx(), Quantize(), SavedModel(), Tflite()], folder)


def quantized_weights(path):
    """(op, integers) of each integer weight of a quantized ONNX file."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [
        (node.op_type, arrays[node.input[1]].astype(np.int16) - arrays[node.input[3]].astype(np.int16))
        for node in graph.node
        if node.op_type in {"ConvInteger", "MatMulInteger"}
    ]


def test_the_onnx_file_is_opset_13_alone_with_the_models_names(sample):
    model = onnx.load(sample[0]["onnx"])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["output"]
    assert "Constant" not in {node.op_type for node in model.graph.node}


def test_the_onnx_file_names_no_folder_and_no_line(sample):
    data = sample[0]["onnx"].read_bytes()
    assert b".py" not in data
    assert b"site-packages" not in data


def test_nodes_still_name_their_pytorch_module(sample):
    model = onnx.load(sample[0]["onnx"])
    scopes = [entry.value for node in model.graph.node for entry in node.metadata_props]
    assert any("classifier" in scope for scope in scopes)


def test_every_weight_is_carried_bit_for_bit(sample):
    paths, notes = sample
    wanted = []
    for op, q in quantized_weights(paths["quantize"]):
        first = np.moveaxis(q, 1, -1) if op == "ConvInteger" else q.T
        wanted.append(carry_int8.digest_of(first, 0))
    model = flatbuffer.read(paths["tflite"])
    graph = model.subgraphs[0]
    found = []
    for tensor in graph.tensors:
        array = flatbuffer.constant(model, tensor)
        if array is not None and array.dtype == np.int8:
            found.append(carry_int8.digest_of(array, tensor.quantization.quantizedDimension))
    assert sorted(found) == sorted(wanted)
    assert notes["tflite"]["carried_exactly"] == notes["tflite"]["quantized_weights"] == len(wanted) == 14


def test_scales_agree_with_the_quantizers(sample):
    paths, _ = sample
    graph = onnx.load(paths["quantize"]).graph
    scales = [
        numpy_helper.to_array(tensor).ravel()
        for tensor in graph.initializer
        if tensor.name.endswith("_scale") and numpy_helper.to_array(tensor).size > 1
    ]
    model = flatbuffer.read(paths["tflite"])
    found = [
        np.asarray(tensor.quantization.scale)
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.scale is not None
    ]
    for scale in scales:
        assert any(other.shape == scale.shape and np.allclose(other, scale, rtol=1e-6) for other in found)


def test_only_builtins_and_the_models_names_in_order(sample):
    model = flatbuffer.read(sample[0]["tflite"])
    graph = model.subgraphs[0]
    assert [graph.tensors[i].name for i in graph.inputs] == [b"image"]
    assert [graph.tensors[i].name for i in graph.outputs] == [b"output"]
    assert [entry.name for entry in model.signatureDefs[0].inputs] == [b"image"]
    ops = {flatbuffer.op_name(model, op) for op in graph.operators}
    assert "HARD_SWISH" in ops
    assert not any(name.startswith("CUSTOM") for name in ops)


@pytest.mark.parametrize("runtime", ["tflite-runtime", "litert"])
def test_both_runtimes_agree_with_onnxruntime_on_the_quantized_graph(sample, tmp_path, runtime):
    # in a worker, as in the product: tflite-runtime does not share a process with TensorFlow
    import onnxruntime

    paths, notes = sample
    image = np.random.default_rng(5).random((1, 1, 32, 32), np.float32)
    session = onnxruntime.InferenceSession(str(paths["quantize"]), providers=["CPUExecutionProvider"])
    reference = tmp_path / "reference.npz"
    np.savez(reference, **{"in/0/image": image, "out/0/output": session.run(None, {"image": image})[0]})
    payload = {
        "runtime": runtime, "artifact": str(paths["tflite"]), "reference": str(reference), "threads": 1,
        "labelled": None, "layouts": notes["tflite"]["layouts"],
    }  # fmt: skip
    with Worker() as worker:
        result = worker.run("edgeconv.harness.jobs:fidelity", payload)
    assert result["parity"]["snr_db"] > 25
    assert result["contract"]["inputs"] == [{"name": "image", "shape": [1, 32, 32, 1], "dtype": "float32"}]


def test_buffers_are_aligned_to_sixteen_bytes(sample):
    from ai_edge_litert import schema_py_generated as schema

    data = sample[0]["tflite"].read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


def test_ensures_refuses_a_file_whose_weights_are_float(sample, tmp_path):
    paths, _ = sample
    floats = tmp_path / "float.tflite"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    Tflite(mode="float32").execute(Job(paths["saved_model"], floats, scratch))
    with pytest.raises(BadOutput, match="only 0 are int8"):
        Tflite().ensures(Job(paths["saved_model"], floats, scratch), {})


def test_ensures_refuses_other_names(sample, tmp_path):
    paths, _ = sample
    model = flatbuffer.read(paths["tflite"])
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = b"picture"
    renamed = tmp_path / "renamed.tflite"
    flatbuffer.write(model, renamed)
    with pytest.raises(BadOutput, match="picture"):
        Tflite().ensures(Job(paths["saved_model"], renamed, tmp_path), {})


def test_a_newer_min_runtime_lets_fully_connected_compute_in_int8(sample, tmp_path):
    paths, _ = sample

    def kinds(path):
        model = flatbuffer.read(path)
        graph = model.subgraphs[0]
        dense = [op for op in graph.operators if flatbuffer.op_name(model, op) == "FULLY_CONNECTED"]
        return {flatbuffer.type_name(graph.tensors[op.inputs[1]].type) for op in dense}

    newer = tmp_path / "newer.tflite"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    Tflite(min_runtime="2.18.0", compute="int8").execute(Job(paths["saved_model"], newer, scratch))
    assert kinds(newer) == {"INT8"}
    older = tmp_path / "older.tflite"
    Tflite(compute="int8").execute(Job(paths["saved_model"], older, scratch))
    assert kinds(older) == set()  # written as a conv, which 2.14 computes rightly


def test_the_saved_model_repeats_byte_for_byte_in_another_process(sample, tmp_path):
    paths, _ = sample
    made = []
    for name in ("one", "two"):
        scratch = tmp_path / f"{name}-scratch"
        scratch.mkdir()
        made.append(tmp_path / name)
        with Worker() as worker:
            job = Job(paths["quantize"], made[-1], scratch)
            worker.run("edgeconv.stage:execute_payload", to_payload(SavedModel(), job))
    files = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in made]
    assert files[0] == files[1]
    assert all(filecmp.cmp(made[0] / file, made[1] / file, shallow=False) for file in files[0])


def test_the_sidecar_tells_names_and_weights(sample):
    sidecar = json.loads((sample[0]["saved_model"] / SIDECAR).read_text())
    assert [entry["name"] for entry in sidecar["inputs"]] == ["image"]
    assert all(entry["integers"] is None for entry in sidecar["quantized"])
