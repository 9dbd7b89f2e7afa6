"""Lets the batch of a .tflite be resized: whatever was fixed to it becomes open or is computed from an input.

The chain runs at a batch (`source.PROBE_BATCH`) of a size that hardly anything else in a network has, so a multiple of
it in a shape is the batch. Every stage works on fixed shapes and loses nothing; only here the numbers are taken out of the
finished file. What cannot be told apart shows when the file is resized: the harness compares it with PyTorch at several
sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.errors import UnsupportedOp
from edgeconv.rewrite import flatbuffer

#: Input that is a shape, by op: its first multiple of the batch becomes −1 where the op allows that.
_OPEN = {"RESHAPE": 1, "SLICE": 2}
#: Input that is a shape which must hold real numbers.
_COMPUTED = {"TRANSPOSE_CONV": 0, "CONV_3D_TRANSPOSE": 0, "BROADCAST_TO": 1, "FILL": 0}
_ELEMENTWISE = frozenset(
    "ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE POW SELECT_V2 SELECT EQUAL LESS GREATER LESS_EQUAL GREATER_EQUAL "
    "NOT_EQUAL LOGICAL_AND LOGICAL_OR FLOOR_DIV FLOOR_MOD".split()
)


def free(model: Any, probe: int) -> int:
    """Change a `ModelT` in place; its tensors then have batch 1 and may be resized.

    Args:
        model: of a file that was converted at a batch of `probe`.
        probe: that batch.

    Returns:
        How many operators were changed.

    Raises:
        UnsupportedOp: an op depends on the batch in a way that a file cannot leave open.
    """
    return sum(_Graph(model, graph, probe).free() for graph in model.subgraphs)


class _Graph:
    """One subgraph while it is changed."""

    def __init__(self, model: Any, graph: Any, probe: int) -> None:
        self.model, self.graph, self.probe = model, graph, probe
        self.changed = 0
        self.before: list[Any] = []  # operators that must run first

    def free(self) -> int:
        """Ops, then tensors."""
        operators = []
        for op in list(self.graph.operators):
            self.before = []
            op.inputs = [int(index) for index in op.inputs]
            self._op(op, flatbuffer.op_name(self.model, op))
            operators += [*self.before, op]
            self.changed += bool(self.before)
        self.graph.operators = operators
        for tensor in self.graph.tensors:
            axis = self._axis(tensor)
            if axis is not None and not self._is_constant(tensor):
                shape = [int(n) for n in tensor.shape]
                signature = list(shape)
                signature[axis], shape[axis] = -1, shape[axis] // self.probe
                tensor.shape, tensor.shapeSignature = shape, signature
        return self.changed

    def _op(self, op: Any, name: str) -> None:
        if name in _OPEN:
            self._open(op, name)
        elif name == "STRIDED_SLICE":
            self._strided_slice(op)
        elif name in _COMPUTED:
            self._compute(op, _COMPUTED[name])
        elif name in _ELEMENTWISE or name == "CONCATENATION":
            for position, index in enumerate(op.inputs):
                self._operand(op, name, position, int(index))
        elif name == "TILE" and self._batch_in(op.inputs[1]) is not None:
            raise self._refused(op, name)

    def _open(self, op: Any, name: str) -> None:
        position = _OPEN[name]
        if len(op.inputs) <= position:
            return
        found = self._batch_in(op.inputs[position])
        if found is None:
            return
        values, place = found
        values[place] = -1
        op.inputs[position] = flatbuffer.add_constant(self.model, self.graph, values, b"")
        if name == "RESHAPE" and op.builtinOptions is not None:
            op.builtinOptions.newShape = [int(n) for n in values]
        self.changed += 1

    def _strided_slice(self, op: Any) -> None:
        found = self._batch_in(op.inputs[2])
        if found is not None:
            op.builtinOptions.endMask |= 1 << found[1]
            self.changed += 1

    def _compute(self, op: Any, position: int) -> None:
        """The shape as [batch · k, …] computed from the op's own data, or from the graph's first input."""
        found = self._batch_in(op.inputs[position])
        if found is None:
            return
        values, place = found
        others = [int(i) for p, i in enumerate(op.inputs) if p != position and i >= 0]
        source = next((i for i in others if self._axis_of_computed(i) is not None), None)
        source = int(self.graph.inputs[0]) if source is None else source
        tensor = self.graph.tensors[source]
        axis = self._axis(tensor)
        if axis is None or int(tensor.shape[axis]) != values[place]:
            raise self._refused(op, flatbuffer.op_name(self.model, op))
        op.inputs[position] = self._shape(source, axis, values, place)

    def _shape(self, source: int, axis: int, values: Any, place: int) -> int:
        """SHAPE → SLICE → CONCATENATION: the tensor's size along `axis` among known numbers."""
        from ai_edge_litert import schema_py_generated as schema

        whole = self._add([len(self.graph.tensors[source].shape)], schema.TensorType.INT32)
        options = schema.ShapeOptionsT()
        options.outType = schema.TensorType.INT32
        self._emit("SHAPE", [source], whole, options)
        batch = self._add([1], schema.TensorType.INT32)
        ends = [self._const(np.array([n], np.int32)) for n in (axis, 1)]
        self._emit("SLICE", [whole, *ends], batch, schema.SliceOptionsT())
        parts = [values[:place], None, values[place + 1 :]]
        inputs = [batch if part is None else self._const(part) for part in parts if part is None or len(part)]
        joined = self._add([len(values)], schema.TensorType.INT32)
        concat = schema.ConcatenationOptionsT()
        concat.axis = 0
        self._emit("CONCATENATION", inputs, joined, concat)
        return joined

    def _operand(self, op: Any, name: str, position: int, index: int) -> None:
        """A constant of the batch's size: one slice of it where that broadcasts, else the slice spread over the batch."""
        tensor = self.graph.tensors[index]
        result = self.graph.tensors[int(op.outputs[0])]
        axis = self._axis(tensor) if self._is_constant(tensor) else None
        batch = self._axis(result)
        if axis is None or batch is None or len(result.shape) - batch != len(tensor.shape) - axis:
            return
        array = flatbuffer.constant(self.model, tensor)
        times = int(tensor.shape[axis])
        if array is None or not np.array_equal(array, np.repeat(array.take([0], axis), times, axis)):
            raise self._refused(op, name)
        one = self._const(np.ascontiguousarray(array.take([0], axis)))
        if name != "CONCATENATION":
            op.inputs[position] = one
            self.changed += 1
            return
        other = next((int(i) for i in op.inputs if self._axis_of_computed(int(i)) == axis), None)
        if other is None:
            raise self._refused(op, name)
        op.inputs[position] = self._spread(one, other, axis, list(tensor.shape))

    def _spread(self, one: int, other: int, axis: int, shape: list[int]) -> int:
        """Zeros with the batch of another tensor, plus one slice: keeps every size known when the file is resized."""
        from ai_edge_litert import schema_py_generated as schema

        kind = schema.TensorType.FLOAT32
        rank = len(shape)
        flat = [1] * rank
        flat[axis] = shape[axis]
        total, zeros, result = self._add(flat, kind), self._add(flat, kind), self._add(shape, kind)
        axes = self._const(np.array([a for a in range(rank) if a != axis], np.int32))
        reduce = schema.ReducerOptionsT()
        reduce.keepDims = True
        self._emit("REDUCE_MAX", [other, axes], total, reduce)
        nothing = self._const(np.zeros([1] * rank, np.float32))
        self._emit("MUL", [total, nothing], zeros, schema.MulOptionsT())
        self._emit("ADD", [zeros, one], result, schema.AddOptionsT())
        return result

    def _axis(self, tensor: Any) -> int | None:
        """The first axis whose size is a multiple of the probe."""
        shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
        return next((axis for axis, n in enumerate(shape) if n and n % self.probe == 0), None)

    def _axis_of_computed(self, index: int) -> int | None:
        tensor = self.graph.tensors[index]
        return None if index < 0 or self._is_constant(tensor) else self._axis(tensor)

    def _is_constant(self, tensor: Any) -> bool:
        data = self.model.buffers[tensor.buffer].data
        return data is not None and len(data) > 0

    def _batch_in(self, index: int) -> tuple[Any, int] | None:
        """The numbers of a constant shape, and the place of the first multiple of the probe; None without one."""
        tensor = self.graph.tensors[int(index)]
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32).copy()
        place = next((i for i, n in enumerate(values) if n > 0 and n % self.probe == 0), None)
        return None if place is None else (values, place)

    def _add(self, shape: list[int], kind: int) -> int:
        return flatbuffer.add_tensor(self.graph, shape, kind, b"")

    def _const(self, array: Any) -> int:
        return flatbuffer.add_constant(self.model, self.graph, array, b"")

    def _emit(self, name: str, inputs: list[int], output: int, options: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        code = flatbuffer.op_code(self.model, getattr(schema.BuiltinOperator, name), 1)
        self.before.append(flatbuffer.operator(code, inputs, output, options))

    def _refused(self, op: Any, name: str) -> UnsupportedOp:
        module = (self.graph.tensors[int(op.outputs[0])].name or b"").decode()
        return UnsupportedOp(
            f"the batch cannot be left open: {name}{f' in {module!r}' if module else ''} depends on it",
            hint="leave out --dynamic, and convert once for each batch that is needed",
        )
