"""One time step of an LSTM, GRU or RNN as plain ops, with everything that ONNX lets a cell be.

The product of the input with its weights is not part of a step: it is one product over all time steps, made before.
Gates stand in ONNX's order: i, o, f, c of an LSTM and z, r, h of a GRU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: Activations of a cell that names none, one direction.
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

#: Default alpha and beta by activation (those of the operators of that name; onnxruntime's for the others).
_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "elu": 1.0, "hardsigmoid": 0.2, "affine": 1.0, "scaledtanh": 1.0}
_BETA = {"hardsigmoid": 0.5, "affine": 0.0, "scaledtanh": 1.0}
_OPS = {
    name.lower(): name
    for name in (
        "Sigmoid",
        "Tanh",
        "Relu",
        "Softsign",
        "Softplus",
        "LeakyRelu",
        "ThresholdedRelu",
        "Elu",
        "HardSigmoid",
    )
}


@dataclass(frozen=True)
class Activation:
    """An activation with its parameters.

    Attributes:
        kind: its name in lower case.
        alpha, beta: None where it has none.
    """

    kind: str
    alpha: float | None = None
    beta: float | None = None

    def build(self, build: Builder, x: ir.Value) -> ir.Value:
        """Ops that compute it."""
        if self.kind == "affine":
            return build.op(
                "Add", build.op("Mul", x, build.scalar(self.alpha or 0.0, x)), build.scalar(self.beta or 0.0, x)
            )
        if self.kind == "scaledtanh":
            inner = build.op("Tanh", build.op("Mul", x, build.scalar(self.beta or 0.0, x)))
            return build.op("Mul", inner, build.scalar(self.alpha or 0.0, x))
        return build.op(_OPS[self.kind], x, alpha=self.alpha, beta=self.beta)


def activations(names: list[str], alphas: list[float], betas: list[float]) -> list[Activation] | None:
    """Activations with their parameters, which only those that have any consume; None if one is unknown."""
    found = []
    alpha, beta = iter(alphas), iter(betas)
    for name in names:
        kind = name.lower()
        if kind not in _OPS and kind not in {"affine", "scaledtanh"}:
            return None
        found.append(
            Activation(
                kind,
                next(alpha, _ALPHA[kind]) if kind in _ALPHA else None,
                next(beta, _BETA[kind]) if kind in _BETA else None,
            )
        )
    return found


@dataclass(frozen=True)
class Cell:
    """What a step needs besides its inputs.

    Attributes:
        op: LSTM, GRU or RNN.
        hidden: size of the state.
        recurrent: [hidden, gates · hidden], or None to leave the state out (it is zero).
        acts: activations in ONNX's order.
        clip: bound of what goes into the gates' activations, or None.
        peepholes: i, o, f of an LSTM, each [hidden]; empty without.
        coupled: an LSTM's forget gate is one minus its input gate.
        bias: of a GRU's hidden gate, [hidden], that is added before the reset gate; None without linear_before_reset.
        before_reset: whether a GRU multiplies the state by its weights before the reset gate.
    """

    op: str
    hidden: int
    recurrent: ir.Value
    acts: list[Activation]
    clip: float | None = None
    peepholes: tuple[ir.Value, ...] = ()
    coupled: bool = False
    bias: ir.Value | None = None
    before_reset: bool = False

    def step(self, build: Builder, x: ir.Value, h: ir.Value | None, c: ir.Value | None) -> tuple[ir.Value, ...]:
        """The next state.

        Args:
            build: of the graph that the step goes into.
            x: [batch, gates · hidden], the input's share of the gates with all biases but `bias`.
            h: [batch, hidden], or None for zeros.
            c: the cell state of an LSTM, likewise.
        """
        if self.op == "LSTM":
            return self._lstm(build, x, h, c)
        if self.op == "GRU":
            return (self._gru(build, x, h),)
        return (self.acts[0].build(build, self._clipped(build, self._plus_state(build, x, h))),)

    def _plus_state(self, build: Builder, x: ir.Value, h: ir.Value | None) -> ir.Value:
        return x if h is None else build.op("Add", x, build.op("MatMul", h, self.recurrent))

    def _clipped(self, build: Builder, x: ir.Value) -> ir.Value:
        if self.clip is None:
            return x
        return build.op("Clip", x, build.scalar(-self.clip, x), build.scalar(self.clip, x))

    def _lstm(self, build: Builder, x: ir.Value, h: ir.Value | None, c: ir.Value | None) -> tuple[ir.Value, ir.Value]:
        gate, update, out = self.acts
        size = self.hidden
        g = self._plus_state(build, x, h)
        if self.peepholes:
            i, o, f, new = cut(build, g, [size] * 4)
            if c is not None:
                i, f = (build.op("Add", v, build.op("Mul", c, self.peepholes[n])) for n, v in ((0, i), (2, f)))
            i, f = (gate.build(build, self._clipped(build, v)) for v in (i, f))
        else:
            three, new = cut(build, self._clipped(build, g), [3 * size, size])
            i, o, f = cut(build, gate.build(build, three), [size] * 3)
        candidate = update.build(build, self._clipped(build, new) if self.peepholes else new)
        made = build.op("Mul", i, candidate)
        if c is not None:
            keep = build.op("Sub", build.scalar(1.0, i), i) if self.coupled else f
            made = build.op("Add", build.op("Mul", keep, c), made)
        if self.peepholes:
            o = build.op("Add", o, build.op("Mul", made, self.peepholes[1]))
            o = gate.build(build, self._clipped(build, o))
        return build.op("Mul", o, out.build(build, made)), made

    def _gru(self, build: Builder, x: ir.Value, h: ir.Value | None) -> ir.Value:
        gate, update = self.acts
        size = self.hidden
        x_zr, x_h = cut(build, x, [2 * size, size])
        if self.before_reset:
            z, hidden = self._gru_linear(build, x_zr, x_h, h, gate)
        elif h is None:
            z, hidden = cut(build, gate.build(build, self._clipped(build, x_zr)), [size] * 2)[0], x_h
        else:
            r_zr, r_h = cut(build, self.recurrent, [2 * size, size])
            zr = build.op("Add", x_zr, build.op("MatMul", h, r_zr))
            z, r = cut(build, gate.build(build, self._clipped(build, zr)), [size] * 2)
            hidden = build.op("Add", x_h, build.op("MatMul", build.op("Mul", r, h), r_h))
        candidate = update.build(build, self._clipped(build, hidden))
        if h is None:
            return build.op("Sub", candidate, build.op("Mul", z, candidate))
        return build.op("Add", candidate, build.op("Mul", z, build.op("Sub", h, candidate)))

    def _gru_linear(
        self, build: Builder, x_zr: ir.Value, x_h: ir.Value, h: ir.Value | None, gate: Activation
    ) -> tuple[ir.Value, ir.Value]:
        """The update gate, and what goes into the hidden gate, with the state multiplied before the reset."""
        size, share = self.hidden, None
        zr = x_zr
        if h is not None:
            h_zr, share = cut(build, build.op("MatMul", h, self.recurrent), [2 * size, size])
            zr = build.op("Add", x_zr, h_zr)
        if self.bias is not None:
            share = self.bias if share is None else build.op("Add", share, self.bias)
        z, r = cut(build, gate.build(build, self._clipped(build, zr)), [size] * 2)
        return z, x_h if share is None else build.op("Add", x_h, build.op("Mul", r, share))


def cut(build: Builder, value: ir.Value, sizes: list[int]) -> list[ir.Value]:
    """Pieces along the last axis."""
    axis = np.array([-1], np.int64)
    pieces, start = [], 0
    for size in sizes:
        pieces.append(build.op("Slice", value, np.array([start]), np.array([start + size]), axis))
        start += size
    return pieces
