"""Pad for onnx-tf with static pads: the stock handler computes them in the graph, and loses the shape."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse

keep: list[Any] = []


def define() -> None:
    """Register the handler."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Pad")
    class Pad(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_pad(node, kwargs["tensor_dict"])]

    keep.append(Pad)


def _pad(node: Any, tensors: dict[str, Any]) -> Any:
    import tensorflow as tf

    x = tensors[node.inputs[0]]
    pads = constant_of(tensors[node.inputs[1]])
    if pads is None:
        raise refuse(node, "computed pads have no TFLite builtin")
    given = node.inputs[2] if len(node.inputs) > 2 else ""
    value = constant_of(tensors[given]) if given else 0
    if value is None:
        raise refuse(node, "a computed padding value has no TFLite builtin")
    rank = len(pads) // 2
    pairs = [(int(pads[axis]), int(pads[rank + axis])) for axis in range(rank)]
    if any(before < 0 or after < 0 for before, after in pairs):
        starts = [max(-before, 0) for before, _ in pairs]
        ends = [n - max(-after, 0) if n is not None else None for n, (_, after) in zip(x.shape, pairs, strict=True)]
        x = x[tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))]
        pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if not any(before or after for before, after in pairs):
        return tf.identity(x)
    mode = node.attrs.get("mode", "constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "constant" and not value:
        return tf.pad(x, pairs)  # PAD; with a value it would be PADV2, which XNNPACK does not take
    if mode == "constant":
        return tf.pad(x, pairs, constant_values=tf.cast(value, x.dtype))
    if mode == "reflect":
        return tf.pad(x, pairs, mode="REFLECT")
    return _edge(tf, x, pairs)


def _edge(tf: Any, x: Any, pairs: list[tuple[int, int]]) -> Any:
    """Repeat the first and last slice along each padded axis: TFLite has no builtin for it."""
    for axis, (before, after) in enumerate(pairs):
        parts = [tf.gather(x, [0] * before, axis=axis)] if before else []
        parts.append(x)
        if after:
            parts.append(tf.gather(x, [x.shape[axis] - 1] * after, axis=axis))
        x = tf.concat(parts, axis) if len(parts) > 1 else x
    return x
