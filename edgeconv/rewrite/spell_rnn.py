"""Spells LSTM, GRU and RNN as matrix products and element-by-element ops, in a Scan where the sequence is long.

onnx-tf builds them from Keras cells that are gone, and the quantizer takes no weights of theirs. The input's product
with its weights is one MatMul over all steps. The steps become a Scan (TFLite's WHILE, whose body the delegate takes),
or stand one after the other where they are few. Measured with LiteRT 2.3 and one thread over 128 steps with a state of
256: WHILE 5.2 ms in float and 3.4 ms in int8, unrolled 8.1 ms and 3.1 ms with 129 copies of the packed weights in memory,
the builtin UNIDIRECTIONAL_SEQUENCE_LSTM 5.6 ms and 3.7 ms with one scale for a whole gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, NodePass, attr, const_value, given, needed, static_shape
from edgeconv.rewrite.recurrent_cells import DEFAULTS, GATES, Cell, activations

#: Longest sequence that is unrolled, and how many elements its packed copies of the recurrent weights may have in all.
UNROLLED_STEPS = 16
UNROLLED_ELEMENTS = 1 << 18


class SpellRnn(NodePass):
    """LSTM, GRU and RNN become MatMul, element-by-element ops and, for long sequences, Scan."""

    ops: ClassVar[frozenset[str]] = frozenset(GATES)

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Sequence and last states, as far as they are read; None for an activation that is not ONNX's."""
        directions = {"forward": ["forward"], "reverse": ["reverse"], "bidirectional": ["forward", "reverse"]}
        ways = directions[str(attr(node, "direction", "forward"))]
        names = attr(node, "activations", list(DEFAULTS[node.op_type]) * len(ways))
        acts = activations(names, attr(node, "activation_alpha", []), attr(node, "activation_beta", []))
        shape = static_shape(needed(node, 2))
        hidden = attr(node, "hidden_size") or (shape[-1] if shape else None)
        if acts is None or hidden is None:
            build.refuse("its activations are not among ONNX's own" if acts is None else "its hidden size is not known")
            return None
        each = len(acts) // len(ways)
        found = [
            _Direction(node, build, n, way == "reverse", int(hidden), acts[n * each : (n + 1) * each]).run()
            for n, way in enumerate(ways)
        ]
        results = []
        for position, output in enumerate(node.outputs):
            parts = [one[position] for one in found]
            if parts[0] is None:
                results.append(build.const(np.zeros(0, np.float32), "unread"))
                continue
            axis = 1 if position == 0 else 0
            wide = [build.op("Unsqueeze", part, build.ints([axis], "axis")) for part in parts]
            result = wide[0] if len(wide) == 1 else build.op("Concat", *wide, axis=axis)
            if output.shape is not None and static_shape(result) is None:
                result.shape = output.shape
            results.append(result)
        return results


class _Body(Builder):
    """Builds the nodes of a Scan's body; constants belong to the graph around it, so that steps share them."""

    def __init__(self, outer: Builder) -> None:
        super().__init__(outer.node, outer._taken)
        self._outer = outer

    def const(self, array: Array | np.generic, hint: str = "const") -> ir.Value:
        return self._outer.const(array, hint)

    def value(self, hint: str, shape: list[int | None], dtype: ir.DataType) -> ir.Value:
        """An input of the body."""
        return ir.Value(name=self._fresh(hint), type=ir.TensorType(dtype), shape=ir.Shape(shape))

    def close(self, inputs: list[ir.Value], outputs: list[ir.Value]) -> ir.Graph:
        """The graph of all that was built."""
        return ir.Graph(inputs, outputs, nodes=self._nodes, name=self._fresh("body"))


class _Direction:
    """One direction of a recurrent node: [steps, batch, …] in, the sequence and the last states out."""

    def __init__(self, node: ir.Node, build: Builder, number: int, reverse: bool, hidden: int, acts: list) -> None:  # type: ignore[type-arg]
        self.node, self.build, self.number, self.reverse, self.hidden = node, build, number, reverse, hidden
        self.x = needed(node, 0)
        self.dtype = self.x.dtype or ir.DataType.FLOAT
        size = GATES[node.op_type] * hidden
        shape = self.x.shape
        dims = list(shape) if shape is not None else [None] * 3
        self.steps, self.batch = (dim if isinstance(dim, int) else None for dim in dims[:2])
        before_reset = node.op_type == "GRU" and bool(attr(node, "linear_before_reset", 0))
        bias, inner = self._biases(size, before_reset=before_reset)
        self.gates = build.op("MatMul", self.x, self._matrix(1))
        if bias is not None:
            self.gates = build.op("Add", self.gates, bias)
        peepholes = self._part(7) if node.op_type == "LSTM" else None
        clip = attr(node, "clip")
        self.cell = Cell(
            node.op_type, hidden, self._matrix(2), acts, None if clip is None else float(clip),
            () if peepholes is None else tuple(self._thirds(peepholes)),
            bool(attr(node, "input_forget", 0)), inner, before_reset,
        )  # fmt: skip

    def run(self) -> list[ir.Value | None]:
        """The sequence [steps, batch, hidden] and the last states [batch, hidden]; None for what nothing reads."""
        read = [bool(out.uses()) or out.is_graph_output() for out in self.node.outputs]
        states = [self._state(place) for place in ((5, 6) if self.node.op_type == "LSTM" else (5,))]
        mask = self._mask()
        elements = self.hidden**2 * GATES[self.node.op_type] * (self.steps or 0)
        few = self.steps is not None and self.steps <= UNROLLED_STEPS and elements <= UNROLLED_ELEMENTS
        if few or self.steps == 1:
            sequence, last = self._unrolled(states, mask, sequence=read[0])
        else:
            sequence, last = self._scanned(states, mask, sequence=read[0])
        found = [sequence, *last][: len(read)]
        return [value if wanted else None for value, wanted in zip(found, read, strict=True)]

    def _step(
        self, build: Builder, x: ir.Value, states: list[ir.Value | None], mask: ir.Value | None
    ) -> tuple[list[ir.Value], ir.Value]:
        """The states after a step, and what the sequence holds there."""
        new = list(self.cell.step(build, x, *states, *[None] * (2 - len(states))))
        if mask is None:
            return new, new[0]
        zero = build.scalar(0.0, self.x)
        kept = [
            build.op("Where", mask, one, zero if old is None else old) for one, old in zip(new, states, strict=True)
        ]
        return kept, build.op("Where", mask, new[0], zero)

    def _unrolled(
        self, states: list[ir.Value | None], mask: ir.Value | None, *, sequence: bool
    ) -> tuple[ir.Value | None, list[ir.Value]]:
        build, steps = self.build, self.steps or 1
        axis = build.ints([0], "axis")
        rows: list[ir.Value] = []
        current = list(states)
        for step in reversed(range(steps)) if self.reverse else range(steps):
            here = [build.ints([step], "step"), build.ints([step + 1], "next"), axis]
            x = build.op("Squeeze", build.op("Slice", self.gates, *here), axis)
            live = None if mask is None else build.op("Squeeze", build.op("Slice", mask, *here), axis)
            new, row = self._step(build, x, current, live)
            current = list(new)
            if sequence:
                rows.append(build.op("Unsqueeze", row, axis))
        rows = rows[::-1] if self.reverse else rows
        whole = None if not rows else rows[0] if len(rows) == 1 else build.op("Concat", *rows, axis=0)
        return whole, [value for value in current if value is not None]

    def _scanned(
        self, states: list[ir.Value | None], mask: ir.Value | None, *, sequence: bool
    ) -> tuple[ir.Value | None, list[ir.Value]]:
        build, body = self.build, _Body(self.build)
        first = [state if state is not None else self._zeros() for state in states]
        carried = [body.value("state", [self.batch, self.hidden], self.dtype) for _ in first]
        x = body.value("gates", [self.batch, GATES[self.node.op_type] * self.hidden], self.dtype)
        live = None if mask is None else body.value("live", [self.batch, 1], ir.DataType.BOOL)
        new, row = self._step(body, x, list(carried), live)
        inputs = [*carried, x, *([] if live is None else [live])]
        outputs = [*new, *([body.op("Identity", row)] if sequence else [])]
        for value, size in zip(outputs, [self.hidden] * len(outputs), strict=True):
            value.shape, value.type = ir.Shape([self.batch, size]), ir.TensorType(self.dtype)
        scanned = [self.gates, *([] if mask is None else [mask])]
        made = build.ops(
            "Scan", *first, *scanned, outputs=len(outputs),
            body=body.close(inputs, outputs), num_scan_inputs=len(scanned),
            scan_input_directions=[int(self.reverse)] * len(scanned),
            scan_output_directions=[int(self.reverse)] if sequence else None,
        )  # fmt: skip
        for value in made[: len(new)]:
            value.shape, value.type = ir.Shape([self.batch, self.hidden]), ir.TensorType(self.dtype)
        if sequence:
            made[-1].shape = ir.Shape([self.steps, self.batch, self.hidden])
            made[-1].type = ir.TensorType(self.dtype)
        return made[-1] if sequence else None, list(made[: len(new)])

    def _mask(self) -> ir.Value | None:
        """[steps, batch, 1], whether a step lies within its sequence; None if all do."""
        lengths = given(self.node, 4)
        if lengths is None:
            return None
        known = const_value(lengths)
        if known is not None and self.steps is not None:
            if (known >= self.steps).all():
                return None
            return self.build.const((np.arange(self.steps)[:, None] < known)[..., None], "live")
        if self.steps is None:
            return None
        clock = self.build.const(np.arange(self.steps, dtype=np.int32).reshape(-1, 1, 1), "clock")
        wide = self.build.op("Unsqueeze", lengths, self.build.ints([1], "axis"))
        return self.build.op("Less", clock, self.build.op("Cast", wide, to=ir.DataType.INT32.value))

    def _state(self, place: int) -> ir.Value | None:
        """The first state [batch, hidden], or None for zeros."""
        value = given(self.node, place)
        known = const_value(value)
        if value is None or (known is not None and not known.any()):
            return None
        return self._part(place)

    def _zeros(self) -> ir.Value:
        if self.batch is not None:
            return self.build.const(np.zeros((self.batch, self.hidden), self.dtype.numpy()), "zeros")
        rows = self.build.op("Slice", self.build.op("Shape", self.x), np.array([1]), np.array([2]))
        shape = self.build.op("Concat", rows, self.build.ints([self.hidden], "hidden"), axis=0)
        return self.build.op("Expand", self.build.const(np.zeros((1, 1), self.dtype.numpy()), "zero"), shape)

    def _part(self, place: int) -> ir.Value | None:
        """This direction's share of an input, without the axis of directions."""
        value = given(self.node, place)
        known = const_value(value)
        if value is None:
            return None
        if known is not None:
            return self.build.const(known[self.number], "part")
        here = [self.build.ints([n], "at") for n in (self.number, self.number + 1, 0)]
        return self.build.op("Squeeze", self.build.op("Slice", value, *here), self.build.ints([0], "axis"))

    def _matrix(self, place: int) -> ir.Value:
        """Weights as the right-hand side of a product: [in, gates · hidden]."""
        known = const_value(needed(self.node, place))
        if known is not None:
            return self.build.const(known[self.number].T, "weight")
        part = self._part(place)
        assert part is not None
        return self.build.op("Transpose", part, perm=[1, 0])

    def _biases(self, size: int, *, before_reset: bool) -> tuple[ir.Value | None, ir.Value | None]:
        """What is added to all gates at once, and what a GRU adds to its hidden gate before the reset."""
        both = self._part(3)
        if both is None:
            return None, None
        build, hidden = self.build, self.hidden
        known = const_value(both)
        if known is not None:
            whole, inner = known[:size].copy(), known[2 * size - hidden :]
            whole[: size - hidden] += known[size : 2 * size - hidden]
            if not before_reset:
                whole[size - hidden :] += inner
            return build.const(whole, "bias"), build.const(inner, "inner_bias") if before_reset else None
        outer, inner_all = (
            build.op("Slice", both, build.ints([a], "from"), build.ints([b], "to"))
            for a, b in ((0, size), (size, 2 * size))
        )
        if not before_reset:
            return build.op("Add", outer, inner_all), None
        ones = np.ones(size, self.dtype.numpy())
        ones[size - hidden :] = 0
        inner_part = build.op("Slice", inner_all, build.ints([size - hidden], "from"), build.ints([size], "to"))
        return build.op("Add", outer, build.op("Mul", inner_all, build.const(ones, "ones"))), inner_part

    def _thirds(self, whole: ir.Value) -> list[ir.Value]:
        known = const_value(whole)
        size = self.hidden
        if known is not None:
            return [self.build.const(known[n * size : (n + 1) * size], "peephole") for n in range(3)]
        bounds = [[self.build.ints([n * size], "from"), self.build.ints([(n + 1) * size], "to")] for n in range(3)]
        return [self.build.op("Slice", whole, *pair) for pair in bounds]
