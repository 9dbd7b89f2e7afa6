"""Scatters for onnx-tf, whose own want constant indices, axes from the front, no place written twice.

TFLite's SCATTER_ND takes computed indices. It sums what falls on one place, where PyTorch and onnxruntime
keep the last: of computed indices the earlier ones are found by sorting.
"""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_gather import from_start, known, numbered

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

    @onnx_op("ScatterND")
    class ScatterND(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_scatter_nd(node, kwargs["tensor_dict"])]

        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_scatter_nd(node, kwargs["tensor_dict"])]

    keep.extend([ScatterElements, ScatterND])


def _scatter(node: Any, tensors: dict[str, Any]) -> Any:
    """Elements numbered through are the places."""
    import tensorflow as tf

    data, indices, shape, taken = known(node, tensors)
    updates = tf.convert_to_tensor(tensors[node.inputs[2]])
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    places = numbered(indices, shape, taken, axis)
    flat = tf.reshape(data, [-1])
    distinct = taken[axis] == 1 or (axis == len(shape) - 1 and _is_top_k(indices))
    return tf.reshape(_written(tf, flat, places, tf.reshape(updates, [-1]), distinct=distinct), shape)


def _scatter_nd(node: Any, tensors: dict[str, Any]) -> Any:
    """Slices numbered through are the places."""
    import numpy as np
    import tensorflow as tf

    data, indices, shape, (*_, depth) = known(node, tensors)
    updates = tf.convert_to_tensor(tensors[node.inputs[2]])
    tail = shape[depth:]
    steps = np.array([int(np.prod(shape[a + 1 : depth])) for a in range(depth)], np.int32)
    where = from_start(indices, np.array(shape[:depth], np.int32))
    places = sum(where[..., a] * steps[a] for a in range(depth))
    flat = tf.reshape(data, [int(np.prod(shape[:depth])), *tail])
    return tf.reshape(_written(tf, flat, places, tf.reshape(updates, [-1, *tail]), distinct=False), shape)


def _is_top_k(indices: Any) -> bool:
    """Whether they are the places of the largest, of which no row has one twice."""
    while indices.op.type in {"Cast", "Identity"}:
        indices = indices.op.inputs[0]
    return str(indices.op.type) == "TopKV2" and bool(indices.value_index == 1)  # not the values


def _written(tf: Any, data: Any, places: Any, values: Any, *, distinct: bool) -> Any:
    """The data with values at places along its first axis, the last one where several fall on one place.

    Args:
        tf: the module.
        data: [n, ...].
        places: int32, m in all; an array where they are constant.
        values: [m, ...], of the data's type.
        distinct: no place occurs twice; else that is looked up in constants, or computed.
    """
    import numpy as np

    if isinstance(places, np.ndarray):
        places = places.reshape(-1)
        kept = np.sort(len(places) - 1 - np.unique(places[::-1], return_index=True)[1])
        if len(kept) < len(places):
            places, values = places[kept], tf.gather(values, kept)
        return tf.tensor_scatter_nd_update(data, tf.reshape(places, [-1, 1]), values)
    places = tf.reshape(places, [-1])
    if not distinct and places.shape[0] > 1:
        places, order = tf.math.top_k(places, k=places.shape[0])  # of equal ones, the first comes first
        last = tf.concat([places[:-1] != places[1:], tf.constant([True])], 0)
        values = tf.gather(values, order)
        values = tf.where(tf.reshape(last, [-1] + [1] * (len(values.shape) - 1)), values, tf.zeros([], values.dtype))
    written = tf.scatter_nd(tf.reshape(places, [-1, 1]), values, data.shape)
    landed = tf.scatter_nd(tf.reshape(places, [-1, 1]), tf.ones([places.shape[0]], tf.float32), data.shape[:1])
    there = tf.reshape(landed > 0, [-1] + [1] * (len(data.shape) - 1))
    return tf.where(there, written, data)
