"""A graph that came quantized keeps its integers where TFLite's int8 can hold them, and says what the rest lost."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import Quantize, SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import infer, model, random_inputs

RNG = np.random.default_rng(0)
WEIGHTS = {
    "c": RNG.standard_normal((8, 3, 3, 3)).astype(np.float32)
    + 0.2,  # off zero: an asymmetric quantizer moves its zero point
    "d": RNG.standard_normal((12, 8, 1, 1)).astype(np.float32)
    * np.geomspace(0.1, 2, 12, dtype=np.float32).reshape(-1, 1, 1, 1),
    "m": RNG.standard_normal((12 * 36, 10)).astype(np.float32),
}


def net():
    """conv, ReLU, 1 × 1 conv, ReLU, dense."""
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"], name="first", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["ra"], name="ra"),
        helper.make_node("Conv", ["ra", "d"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["rb"], name="rb"),
        helper.make_node("Flatten", ["rb"], ["f"], name="f"),
        helper.make_node("MatMul", ["f", "m"], ["y"], name="dense"),
    ]
    return model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 12, 12])}, ["y"], WEIGHTS, opset=13)


class Batches:
    """Calibration data for onnxruntime's static quantizer."""

    def __init__(self):
        self.left = [random_inputs(net(), seed) for seed in range(8)]

    def get_next(self):
        return self.left.pop() if self.left else None


def dynamic(source, target, **options):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target, op_types_to_quantize=["Conv", "MatMul"], **options)


def static(source, target, **options):
    from onnxruntime.quantization import QuantFormat, quantize_static

    quantize_static(source, target, Batches(), quant_format=QuantFormat.QDQ, **options)


def kinds():
    from onnxruntime.quantization import QuantType

    return {
        "dynamic uint8 asymmetric": (dynamic, {"weight_type": QuantType.QUInt8}),
        "dynamic uint8 symmetric": (dynamic, {"weight_type": QuantType.QUInt8, "extra_options": {"WeightSymmetric": True}}),
        "dynamic int8": (dynamic, {"weight_type": QuantType.QInt8}),
        "static int8": (static, {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}),
        "static int8 per channel": (
            static, {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8, "per_channel": True},
        ),
    }  # fmt: skip


SLICE = {"dynamic uint8 asymmetric", "static int8 per channel"}
KINDS = [
    pytest.param(kind, marks=[pytest.mark.slow, *([pytest.mark.slice] if kind in SLICE else [])]) for kind in kinds()
]


@pytest.fixture(scope="module", params=KINDS)
def converted(request, tmp_path_factory):
    """The quantizer's graph, the .tflite, the notes of both stages."""
    folder = tmp_path_factory.mktemp("given")
    onnx.save(net(), folder / "float.onnx")
    quantizer, options = kinds()[request.param]
    current = folder / "given.onnx"
    quantizer(str(folder / "float.onnx"), str(current), **options)
    given, notes = onnx.load(current), {}
    with Worker() as worker:
        for stage in (Quantize(), SavedModel(), Tflite()):
            scratch = folder / f"{stage.name}-scratch"
            scratch.mkdir()
            job = Job(current, folder / stage.name, scratch)
            notes[stage.name] = worker.run("edgeconv.stage:execute_payload", to_payload(stage, job))
            current = folder / stage.name
    return given, current, notes


def integers(given):
    """q − zero point of each weight, output channel first, sorted by size."""
    tensors = {t.name: numpy_helper.to_array(t) for t in given.graph.initializer}
    found = []
    for name in WEIGHTS:
        q = tensors[f"{name}_quantized"].astype(np.int16)
        zero = tensors[f"{name}_zero_point"].astype(np.int16)
        q = q - (zero.reshape(-1, *[1] * (q.ndim - 1)) if q.ndim > 2 else zero)
        found.append(np.moveaxis(q, 1, -1).reshape(q.shape[0], -1) if q.ndim > 2 else q.T)
    return found


def stored(path):
    file = flatbuffer.read(path)
    arrays = [flatbuffer.constant(file, tensor) for tensor in file.subgraphs[0].tensors]
    return [a.reshape(a.shape[0], -1) for a in arrays if a is not None and a.dtype == np.int8]


def test_integers_that_fit_are_in_the_file_as_they_were_given(converted):
    given, path, notes = converted
    found = stored(path)
    exact = 0
    for wanted in integers(given):
        fits = np.abs(wanted).max(axis=1) <= 127
        same = [a for a in found if a.shape == wanted.shape]
        if wanted.shape == (10, 432):  # the dense layer's features follow the layout of the image before it
            same = [a.reshape(10, 36, 12).transpose(0, 2, 1).reshape(10, -1) for a in same]
        assert any(np.array_equal(a[fits], wanted[fits]) for a in same)
        exact += bool(fits.all())
    assert notes["quantize"]["given_quantized"] == len(WEIGHTS)
    assert notes["quantize"]["given_carried_exactly"] == exact
    assert all(snr > 35 for snr in notes["quantize"]["given_snr_db"].values())
    assert notes["tflite"]["carried_exactly"] == notes["tflite"]["quantized_weights"] == len(WEIGHTS)


def test_both_artifacts_compute_what_the_given_graph_does(converted):
    from ai_edge_litert.interpreter import Interpreter

    given, path, _ = converted
    feeds = random_inputs(net(), seed=99)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feeds["x"].transpose(0, 2, 3, 1))
    interpreter.invoke()
    ours = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for graph in (given, onnx.load(path.with_name("quantize"))):
        wanted = infer(graph, feeds)[0]
        assert np.linalg.norm(ours - wanted) / np.linalg.norm(wanted) < 0.05
