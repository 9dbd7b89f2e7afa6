"""onnxruntime's dynamic quantization folded back to float weights on the quantizer's grid."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgeconv.rewrite.base import const_value, run
from edgeconv.rewrite.fold_quantized import FoldQuantized
from edgeconv.stage import Job
from edgeconv.stages import Quantize
from tests.rewrite.helpers import model, op_types


@pytest.fixture
def net(tmp_path):
    """Conv (depthwise too), a MatMul and a Gemm, float."""
    rng = np.random.default_rng(0)
    constants = {
        "w1": rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
        * rng.uniform(0.1, 3, (8, 1, 1, 1)).astype(np.float32),
        "w2": rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "b2": rng.standard_normal(8).astype(np.float32),
        "w3": rng.standard_normal((8, 16)).astype(np.float32),
        "w4": rng.standard_normal((10, 16)).astype(np.float32),
        "b4": rng.standard_normal(10).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c1", "w2", "b2"], ["c2"], name="c2", group=8),
        helper.make_node("ReduceMean", ["c2"], ["m"], name="m", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w3"], ["p"], name="p"),
        helper.make_node("Gemm", ["p", "w4", "b4"], ["y"], name="g", transB=1),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 12, 12])}, ["y"], constants, opset=13)
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    return path


def quantized(path, tmp_path):
    target, scratch = tmp_path / "q.onnx", tmp_path / "s"
    scratch.mkdir()
    stage = Quantize()
    job = Job(path, target, scratch)
    return target, stage.execute(job)


def outputs(proto, x):
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_no_integer_op_is_left_and_the_output_differs_only_by_activation_rounding(net, tmp_path):
    path, notes = quantized(net, tmp_path)
    assert notes["weights"] == 4
    folded = ir.load(path)
    passes = FoldQuantized()
    assert run(folded, [passes]) == {"fold_quantized": 4}
    proto = ir.serde.serialize_model(folded)
    assert not {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"} & set(op_types(proto))
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    y, q = outputs(proto, x), outputs(onnx.load(path), x)
    assert 20 * np.log10(np.linalg.norm(y) / np.linalg.norm(y - q)) > 30


def test_the_folded_weight_is_scale_times_integer_to_the_last_bit(net, tmp_path):
    path, _ = quantized(net, tmp_path)
    folded = ir.load(path)
    passes = FoldQuantized()
    run(folded, [passes])
    for weight in passes.weights:
        assert weight.on_grid
        value = const_value(folded.graph.initializers[weight.name])
        first = value if weight.op == "Conv" else np.swapaxes(value, -1, -2)
        scale = weight.scale.reshape(-1, *[1] * (first.ndim - 1))
        assert np.array_equal(first, weight.integers.astype(np.float32) * scale)


def test_an_asymmetric_per_tensor_quantization_from_elsewhere_folds_too(net, tmp_path):
    target = tmp_path / "elsewhere.onnx"
    quantize_dynamic(net, target, weight_type=QuantType.QUInt8)
    folded = ir.load(target)
    passes = FoldQuantized()
    run(folded, [passes])
    assert len(passes.weights) == 4
    assert not all(weight.on_grid for weight in passes.weights)
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    y, q = outputs(ir.serde.serialize_model(folded), x), outputs(onnx.load(target), x)
    assert 20 * np.log10(np.linalg.norm(y) / np.linalg.norm(y - q)) > 25


def test_a_product_of_two_computed_tensors_stays(tmp_path):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "q", "z", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "s"], ["ss"]),
        helper.make_node("Mul", ["f", "ss"], ["y"]),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [4, 4])}, ["y"], opset=13)
    found = ir.serde.deserialize_model(proto)
    assert FoldQuantized().apply(found) == 0
    assert "MatMulInteger" in [node.op_type for node in found.graph]
