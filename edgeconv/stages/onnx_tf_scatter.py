"""ScatterElements and GatherElements for onnx-tf, whose own handlers want constant indices and an axis counted from the front.

TFLite's SCATTER_ND and GATHER take computed indices.
"""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import refuse

keep: list[Any] = []


def define() -> None:
    """Register the handlers."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("ScatterElements")
    class ScatterElements(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_scatter(node, kwargs["tensor_dict"])]

    @onnx_op("GatherElements")
    class GatherElements(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_gather(node, kwargs["tensor_dict"])]

        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_gather(node, kwargs["tensor_dict"])]

    keep.extend([ScatterElements, GatherElements])


def _gather(node: Any, tensors: dict[str, Any]) -> Any:
    """Along the last axis of equal others: one GATHER, row by row. Else a GATHER from the elements numbered through."""
    import numpy as np
    import tensorflow as tf

    data, indices = (tf.convert_to_tensor(tensors[name]) for name in node.inputs)
    shape, taken = data.shape.as_list(), indices.shape.as_list()
    if None in shape or None in taken:
        raise refuse(node, "its input or its indices have no fixed shape")
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    where = _from_start(tf, indices, shape[axis])
    if axis == len(shape) - 1 and taken[:-1] == shape[:-1]:
        return tf.gather(data, where, axis=axis, batch_dims=axis)
    steps = [int(np.prod(shape[a + 1 :])) for a in range(len(shape))]
    others = sum(grid * steps[a] for a, grid in enumerate(np.indices(taken)) if a != axis)
    number = where * steps[axis] + np.broadcast_to(others, taken).astype(np.int32)
    return tf.gather(tf.reshape(data, [-1]), number)


def _from_start(tf: Any, indices: Any, length: int) -> Any:
    """Indices as int32, those below zero counted from the end."""
    where = tf.cast(indices, tf.int32)
    return tf.where(where < 0, where + length, where)


def _scatter(node: Any, tensors: dict[str, Any]) -> Any:
    """The updates in zeros, and ones in zeros where they landed: both by SCATTER_ND, then a choice."""
    import numpy as np
    import tensorflow as tf

    data, indices, updates = (tf.convert_to_tensor(tensors[name]) for name in node.inputs)
    if None in data.shape.as_list() or None in indices.shape.as_list():
        raise refuse(node, "its input or its indices have no fixed shape")
    shape, axis = data.shape.as_list(), int(node.attrs.get("axis", 0)) % len(data.shape)
    where = _from_start(tf, indices, shape[axis])
    places = [
        where if a == axis else tf.constant(grid.astype(np.int32))
        for a, grid in enumerate(np.indices(indices.shape.as_list()))
    ]
    full = tf.reshape(tf.stack(places, -1), [-1, len(shape)])
    landed = tf.scatter_nd(full, tf.ones([full.shape[0]], tf.float32), shape)
    small = updates.dtype in (tf.bool, tf.int8, tf.uint8)
    flat = tf.reshape(tf.cast(updates, tf.int32) if small else updates, [-1])
    written = tf.scatter_nd(full, flat, shape)
    return tf.where(landed > 0, tf.cast(written, data.dtype) if small else written, data)
