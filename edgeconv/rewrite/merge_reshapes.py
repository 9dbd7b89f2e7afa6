"""Drops RESHAPEs of a .tflite that undo one another, also across ops by element between them.

Each RESHAPE copies its tensor in XNNPACK. A dense layer that was written as a conv has one before and one after
(`dense_as_conv`); between two of them with a GELU in the middle neither is needed, if the GELU is computed in the conv's shape.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from edgeconv.rewrite import flatbuffer

#: Ops that compute each element by itself.
_BY_ELEMENT = frozenset(
    "ABS ADD ELU EXP GELU HARD_SWISH LEAKY_RELU LOGISTIC MAXIMUM MINIMUM MUL NEG RELU RELU6 RELU_0_TO_1 RSQRT SQRT SQUARE SUB "
    "TANH".split()
)


def merge(model: Any) -> int:
    """Rewrite in place; returns how many RESHAPEs went."""
    before = sum(len(graph.operators) for graph in model.subgraphs)
    for graph in model.subgraphs:
        _Graph(model, graph).merge()
    return before - sum(len(graph.operators) for graph in model.subgraphs)


class _Graph:
    """One subgraph with its readers and makers."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.model, self.graph = model, graph
        self.names = {id(op): flatbuffer.op_name(model, op) for op in graph.operators}
        self.outputs = {int(index) for index in graph.outputs}

    def merge(self) -> None:
        """Compute by element before reshapes where that frees them, join those that follow one another, drop the unread."""
        self._index()
        slid = self._slidable()
        for op in list(self.graph.operators):
            if id(op) in slid:
                self._slide(op)
        self._index()
        for op in self.graph.operators:
            while self.names[id(op)] == "RESHAPE" and (maker := self._reshape_of(op.inputs[0])) is not None:
                op.inputs = [int(maker.inputs[0]), *map(int, op.inputs[1:])]
        self._drop_identities()
        self._drop_unread()

    def _index(self) -> None:
        self.makers = {int(index): op for op in self.graph.operators for index in op.outputs}
        self.readers: dict[int, list[Any]] = defaultdict(list)
        for op in self.graph.operators:
            for index in op.inputs:
                self.readers[int(index)].append(op)

    def _shape(self, index: int) -> tuple[int, ...] | None:
        tensor = self.graph.tensors[int(index)]
        if tensor.shape is None or (tensor.shapeSignature is not None and -1 in list(tensor.shapeSignature)):
            return None
        return tuple(int(n) for n in tensor.shape)

    def _reshape_of(self, index: int) -> Any:
        """The RESHAPE of known shapes that makes a tensor, or None."""
        maker = self.makers.get(int(index))
        if maker is None or self.names[id(maker)] != "RESHAPE" or self._shape(maker.inputs[0]) is None:
            return None
        return maker if self._shape(index) is not None else None

    def _slidable(self) -> set[int]:
        """Ops by element between reshapes only.

        All inputs come from reshapes of one shape and all readers are reshapes, or either is another such op.
        """
        found = {
            id(op): op for op in self.graph.operators if self.names[id(op)] in _BY_ELEMENT and len(op.outputs) == 1
        }
        while True:
            wrong = [key for key, op in found.items() if not self._lies_between(op, found)]
            if not wrong:
                return set(found)
            for key in wrong:
                del found[key]

    def _lies_between(self, op: Any, others: dict[int, Any]) -> bool:
        out = int(op.outputs[0])
        following = self.readers[out]
        if out in self.outputs or not following:
            return False
        if not all(id(reader) in others or self.names[id(reader)] == "RESHAPE" for reader in following):
            return False
        sources = set()
        for index in map(int, op.inputs):
            if self._is_scalar(index):
                continue
            maker = self.makers.get(index)
            if self._shape(index) != self._shape(out):
                return False
            if maker is not None and id(maker) in others:
                sources.add(self._source(maker, others))
            elif (reshape := self._reshape_of(index)) is not None:
                sources.add(self._shape(reshape.inputs[0]))
            else:
                return False
        return len(sources) == 1 and None not in sources

    def _source(self, op: Any, others: dict[int, Any]) -> tuple[int, ...] | None:
        """The shape before the reshapes above an op."""
        for index in map(int, op.inputs):
            maker = self.makers.get(index)
            if maker is not None and id(maker) in others:
                return self._source(maker, others)
            if (reshape := self._reshape_of(index)) is not None:
                return self._shape(reshape.inputs[0])
        return None

    def _is_scalar(self, index: int) -> bool:
        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        return data is not None and len(data) > 0 and tensor.shape is not None and np.prod(tensor.shape) == 1

    def _slide(self, op: Any) -> None:
        """Compute an op in the shape before its inputs' reshapes, and reshape the result."""
        old = int(op.outputs[0])
        shape: tuple[int, ...] | None = None
        inputs = []
        for index in map(int, op.inputs):
            reshape = self._reshape_of(index)
            inputs.append(index if reshape is None else int(reshape.inputs[0]))
            shape = shape if reshape is None else self._shape(inputs[-1])
        assert shape is not None
        tensor = self.graph.tensors[old]
        made = flatbuffer.add_tensor(self.graph, list(shape), tensor.type, tensor.name)
        op.inputs, op.outputs = inputs, [made]
        after = flatbuffer.reshape(self.model, self.graph, made, old, list(self._shape(old) or ()))
        self.names[id(after)] = "RESHAPE"
        at = next(place for place, other in enumerate(self.graph.operators) if other is op)
        self.graph.operators.insert(at + 1, after)
        self.makers[old], self.makers[made] = after, op

    def _drop_identities(self) -> None:
        """Read the source of a RESHAPE to its own shape, unless the result is an output."""
        for op in list(self.graph.operators):
            if self.names[id(op)] != "RESHAPE" or int(op.outputs[0]) in self.outputs:
                continue
            source, out = int(op.inputs[0]), int(op.outputs[0])
            if self._shape(source) is not None and self._shape(source) == self._shape(out):
                for reader in self.graph.operators:
                    reader.inputs = [source if int(index) == out else int(index) for index in reader.inputs]

    def _drop_unread(self) -> None:
        while True:
            read = {int(index) for op in self.graph.operators for index in op.inputs} | self.outputs
            kept = [op for op in self.graph.operators if self.names[id(op)] != "RESHAPE" or int(op.outputs[0]) in read]
            if len(kept) == len(self.graph.operators):
                return
            self.graph.operators = kept
