"""Reshapes that undo one another go, also across ops by element; everything else computes as before."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgeconv.rewrite import flatbuffer, merge_reshapes


class File:
    """A .tflite that grows by ops; all tensors are float32."""

    def __init__(self, shape):
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.graph.inputs = [self.tensor(shape)]

    def tensor(self, shape):
        return flatbuffer.add_tensor(self.graph, list(shape), schema.TensorType.FLOAT32, b"t")

    def constant(self, array):
        return flatbuffer.add_constant(self.model, self.graph, array, b"c")

    def op(self, name, *inputs, shape=None):
        op = schema.OperatorT()
        op.opcodeIndex = flatbuffer.op_code(self.model, getattr(schema.BuiltinOperator, name), 1)
        op.inputs = list(inputs)
        op.outputs = [self.tensor(shape or self.graph.tensors[inputs[0]].shape)]
        if name in {"MUL", "ADD"}:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name.title()}Options")
            op.builtinOptions = getattr(schema, f"{name.title()}OptionsT")()
        self.graph.operators.append(op)
        return op.outputs[0]

    def reshape(self, source, shape):
        target = self.tensor(shape)
        self.graph.operators.append(flatbuffer.reshape(self.model, self.graph, source, target, list(shape)))
        return target

    def ops(self):
        return [flatbuffer.op_name(self.model, op) for op in self.graph.operators]

    def run(self, path, *outputs):
        self.graph.outputs = list(outputs)
        flatbuffer.write(self.model, path)
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
        interpreter.set_tensor(
            entry["index"], np.random.default_rng(0).standard_normal(entry["shape"]).astype(np.float32)
        )
        interpreter.invoke()
        return [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]


def silu(file, x):
    return file.op("MUL", x, file.op("LOGISTIC", x))


def between(file, x):
    """Two ops by element and a scalar between reshapes there and back."""
    wide = silu(file, file.reshape(x, [6, 1, 4]))
    wide = file.op("ADD", wide, file.constant(np.array([2], np.float32)))
    return [file.op("NEG", file.reshape(wide, [2, 3, 4]))]


def residual(file, x):
    """What is added was never reshaped."""
    wide = file.op("ADD", file.reshape(x, [6, 4]), file.constant(np.ones((6, 4), np.float32)))
    return [file.op("NEG", file.reshape(wide, [2, 3, 4]))]


def chain(file, x):
    return [file.op("NEG", file.reshape(file.reshape(file.reshape(x, [6, 4]), [24]), [4, 6]))]


def read_twice(file, x):
    flat = file.reshape(x, [24])
    return [file.op("NEG", file.reshape(flat, [2, 3, 4])), file.op("NEG", flat)]


def output(file, x):
    return [file.reshape(file.op("TANH", file.reshape(x, [24])), [2, 3, 4])]


@pytest.mark.parametrize(
    ("build", "left"),
    [(between, 0), (residual, 2), (chain, 1), (read_twice, 1), (output, 1)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_only_reshapes_that_matter_stay(tmp_path, build, left):
    file = File([2, 3, 4])
    outputs = build(file, file.graph.inputs[0])
    before = file.run(tmp_path / "before.tflite", *outputs)
    merge_reshapes.merge(file.model)
    after = file.run(tmp_path / "after.tflite", *outputs)
    assert file.ops().count("RESHAPE") == left
    for want, got in zip(before, after, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
        assert want.shape == got.shape
