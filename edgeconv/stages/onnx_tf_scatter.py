"""ScatterElements for onnx-tf: its own handler wants indices that are constant; TFLite's SCATTER_ND takes computed ones."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_gather import from_start
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

    keep.append(ScatterElements)


def _scatter(node: Any, tensors: dict[str, Any]) -> Any:
    """The updates in zeros, and ones in zeros where they landed: both by SCATTER_ND, then a choice."""
    import numpy as np
    import tensorflow as tf

    data, indices, updates = (tf.convert_to_tensor(tensors[name]) for name in node.inputs)
    if None in data.shape.as_list() or None in indices.shape.as_list():
        raise refuse(node, "its input or its indices have no fixed shape")
    shape, axis = data.shape.as_list(), int(node.attrs.get("axis", 0)) % len(data.shape)
    where = from_start(indices, shape[axis])
    places = [
        where if a == axis else tf.constant(grid.astype(np.int32))
        for a, grid in enumerate(np.indices(indices.shape.as_list()))
    ]
    full = tf.reshape(tf.stack(places, -1), [-1, len(shape)])
    landed = tf.scatter_nd(full, tf.ones([full.shape[0]], tf.float32), shape)
    written = tf.scatter_nd(full, tf.reshape(updates, [-1]), shape)
    return tf.where(landed > 0, written, data)
