"""TopK and ReduceSum for onnx-tf: the stock handlers lose the axis of one and all but one of the other's."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse

keep: list[Any] = []


def define() -> None:
    """Register the handlers."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("TopK")
    class TopK(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return _top_k(node, kwargs["tensor_dict"])

    @onnx_op("ReduceSum")
    class ReduceSum(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_reduce_sum(node, kwargs["tensor_dict"])]

    keep.extend([TopK, ReduceSum])


def _top_k(node: Any, tensors: dict[str, Any]) -> list[Any]:
    import tensorflow as tf

    x, k = tensors[node.inputs[0]], constant_of(tensors[node.inputs[1]])
    if k is None:
        raise refuse(node, "a computed number of elements gives a shape that is not known")
    rank = x.shape.rank
    axis = int(node.attrs.get("axis", -1)) % rank
    back = [a for a in range(rank) if a != axis]
    perm = [*back, axis]
    if axis != rank - 1:
        x = tf.transpose(x, perm)
    largest = bool(node.attrs.get("largest", 1))
    values, indices = tf.math.top_k(x if largest else -x, int(k.reshape(-1)[0]))
    values, indices = values if largest else -values, tf.cast(indices, tf.int64)
    if axis != rank - 1:
        home = [perm.index(a) for a in range(rank)]
        values, indices = tf.transpose(values, home), tf.transpose(indices, home)
    return [values, indices]


def _reduce_sum(node: Any, tensors: dict[str, Any]) -> Any:
    import tensorflow as tf

    x = tensors[node.inputs[0]]
    axes = constant_of(tensors[node.inputs[1]]) if len(node.inputs) > 1 and node.inputs[1] else ()
    if axes is None:
        raise refuse(node, "computed axes have no TFLite builtin")
    if len(axes) == 0 and node.attrs.get("noop_with_empty_axes", 0):
        return tf.identity(x)
    return tf.reduce_sum(x, [int(a) for a in axes] if len(axes) else None, bool(node.attrs.get("keepdims", 1)))
