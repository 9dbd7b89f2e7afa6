"""ReduceSum for onnx-tf: its own handler for opset 13 sums over the first of the axes alone, without a word."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse

keep: list[Any] = []


def define() -> None:
    """Register the handler."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("ReduceSum")
    class ReduceSum(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_sum(node, kwargs["tensor_dict"])]

    keep.append(ReduceSum)


def _sum(node: Any, tensors: dict[str, Any]) -> Any:
    import tensorflow as tf

    x = tensors[node.inputs[0]]
    axes: list[int] | None = None
    if len(node.inputs) > 1 and node.inputs[1]:
        found = constant_of(tensors[node.inputs[1]])
        if found is None:
            raise refuse(node, "its axes are computed")
        axes = [int(axis) for axis in found.reshape(-1)]
    if not axes:
        if node.attrs.get("noop_with_empty_axes", 0):
            return x
        axes = None
    return tf.reduce_sum(x, axes, keepdims=bool(node.attrs.get("keepdims", 1)))
