"""Resize for onnx-tf, in the canonical forms that `rewrite.spell_resize` leaves: each is one TFLite builtin."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse

keep: list[Any] = []


def define() -> None:
    """Register the handler."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Resize")
    class Resize(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_resize(node, kwargs["tensor_dict"])]

    keep.append(Resize)


def _resize(node: Any, tensors: dict[str, Any]) -> Any:
    import tensorflow as tf

    sizes = constant_of(tensors[node.inputs[3]]) if len(node.inputs) > 3 and node.inputs[3] else None
    mode, kind = (_text(node.attrs.get(key, default)) for key, default in (
        ("mode", "nearest"), ("coordinate_transformation_mode", "half_pixel")))  # fmt: skip
    x = tensors[node.inputs[0]]
    if sizes is None or len(sizes) != 4:
        raise refuse(node, "its sizes are computed")
    size = [int(n) for n in sizes[2:]]
    options = {"align_corners": kind == "align_corners", "half_pixel_centers": kind == "half_pixel"}
    x = tf.transpose(x, [0, 2, 3, 1])
    if mode == "nearest":
        y = tf.compat.v1.image.resize_nearest_neighbor(x, size, **options)
    else:
        y = tf.cast(tf.compat.v1.image.resize_bilinear(tf.cast(x, tf.float32), size, **options), x.dtype)
    return tf.transpose(y, [0, 3, 1, 2])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
