"""Turns a dynamically quantized graph back into float ops whose weights lie exactly on the quantizer's integer grid.

onnxruntime writes DynamicQuantizeLinear → ConvInteger or MatMulInteger → Cast → Mul(·, input scale · weight scale).
Neither integer op has a TFLite builtin: MatMulInteger becomes an int32 MatMul that only Flex takes. The weights are what the
quantizer decided; quantizing the activations again is the runtime's business. So each such chain becomes one Conv or
MatMul with the float weight `scale · (q − zero point)`, from which the TFLite stage recovers the integers bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Array, Builder, Pass, all_names, attr, const_value, nodes


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight that the quantizer had made integer.

    Attributes:
        name: of the float initializer that now holds it.
        op: Conv or MatMul.
        integers: q − zero point as int16, output channel first: [O, I/groups, kH, kW], or [out, in] for MatMul.
        scale: float32, one number or one an output channel.
        on_grid: symmetric and within [−127, 127] with 127 reached in every channel that is not all zero, which is
            TFLite's own int8 grid: such a weight can be carried without changing a single integer.
        groups: of the conv that reads it.
    """

    name: str
    op: str
    integers: Array
    scale: Array
    on_grid: bool
    groups: int = 1


class FoldQuantized(Pass):
    """ConvInteger and MatMulInteger with constant weights, and their scales, become Conv and MatMul.

    Attributes:
        weights: what was folded, in graph order; filled by `apply`.
    """

    def __init__(self) -> None:
        self.weights: list[QuantizedWeight] = []

    def apply(self, model: ir.Model) -> int:
        """Fold every chain whose weight and scales are constant; others stay."""
        taken = all_names(model)
        folded = 0
        for node in list(nodes(model)):
            if node.op_type in {"ConvInteger", "MatMulInteger"} and self._fold(node, taken):
                folded += 1
        if folded:
            _remove_dead(model)
        return folded

    def _fold(self, node: ir.Node, taken: set[str]) -> bool:
        quantize = node.inputs[0].producer() if node.inputs[0] is not None else None
        weight = const_value(node.inputs[1])
        scaled = _scaling(node)
        if quantize is None or quantize.op_type != "DynamicQuantizeLinear" or weight is None or scaled is None:
            return False
        last, scale = scaled
        zero = const_value(node.inputs[3]) if len(node.inputs) > 3 else None
        is_conv = node.op_type == "ConvInteger"
        q = weight.astype(np.int16)
        if zero is not None:
            q = q - _per_output(zero.astype(np.int16), q.ndim, conv=is_conv)
        real = (q.astype(np.float32) * _per_output(scale, q.ndim, conv=is_conv)).astype(np.float32)
        build = Builder(last, taken)
        constant = build.const(real, "weight")
        attributes = {key: attr(node, key) for key in node.attributes}
        result = build.op("Conv" if is_conv else "MatMul", quantize.inputs[0], constant, **attributes)
        integers = q if is_conv or q.ndim < 2 else np.swapaxes(q, -1, -2)
        # the name may change once more (NameFixPass), the value object keeps it
        op = "Conv" if is_conv else "MatMul"
        on_grid, groups = is_on_grid(integers, scale), int(attributes.get("group", 1))
        self.weights.append(QuantizedWeight(constant.name or "", op, integers, scale, on_grid, groups))
        build.commit([result])
        return True


def _scaling(node: ir.Node) -> tuple[ir.Node, Array] | None:
    """The Mul that ends the chain of an integer op, and the weight's scale; None if the chain looks otherwise."""
    cast = _only_user(node)
    last = _only_user(cast) if cast is not None and cast.op_type == "Cast" else None
    if cast is None or last is None or last.op_type != "Mul":
        return None
    factor = next(value for value in last.inputs if value is not cast.outputs[0])
    scales = factor.producer() if factor is not None else None
    if scales is None or scales.op_type != "Mul":
        return None
    constants = [array for array in map(const_value, scales.inputs) if array is not None]
    return (last, constants[0].astype(np.float32)) if len(constants) == 1 else None


def _only_user(node: ir.Node) -> ir.Node | None:
    users = [usage.node for usage in node.outputs[0].uses()]
    return users[0] if len(users) == 1 else None


def _per_output(array: Array, ndim: int, *, conv: bool) -> Array:
    """Shape a scalar or per-output-channel array so that it broadcasts over the weight."""
    flat = array.reshape(-1)
    if flat.size == 1:
        return flat.reshape(())
    return flat.reshape(-1, *[1] * (ndim - 1)) if conv else flat.reshape(*[1] * (ndim - 1), -1)


def is_on_grid(integers: Array, scale: Array) -> bool:
    """Whether TFLite's own quantizer would choose the same integers: see `QuantizedWeight.on_grid`."""
    peaks = np.abs(integers.reshape(integers.shape[0], -1)).max(axis=1)
    per_channel = scale.size == integers.shape[0] or integers.shape[0] == 1
    return bool(per_channel and np.all((peaks == 127) | (peaks == 0)))


def _remove_dead(model: ir.Model) -> None:
    """Drop what nothing reads any more: the quantizers of activations and the integer weights."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
