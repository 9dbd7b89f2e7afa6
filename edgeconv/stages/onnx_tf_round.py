"""Floor, Ceil and Cast of a quotient for onnx-tf: its divisor must not become a factor.

The TFLite converter multiplies by the reciprocal of a constant divisor, and 41 * (1 / 41) is below 1 in float32: the floor of
a multiple of 41 would be one too small, and the remainder of 41 by 41 be 41. FLOOR_DIV divides.
"""

from __future__ import annotations

from typing import Any

keep: list[Any] = []


def define() -> None:
    """Register the handlers."""
    from onnx_tf.handlers.backend.cast import Cast as UsualCast
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Floor")
    class Floor(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_floor(kwargs["tensor_dict"][node.inputs[0]])]

    @onnx_op("Ceil")
    class Ceil(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_ceil(kwargs["tensor_dict"][node.inputs[0]])]

    @onnx_op("Cast")
    class Cast(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            found = _truncated(kwargs["tensor_dict"][node.inputs[0]], node.attrs.get("to"))
            return UsualCast.version_13(node, **kwargs) if found is None else [found]

    keep.extend([Floor, Ceil, Cast])


def _floor(x: Any) -> Any:
    import tensorflow as tf

    size = _producer(x, "Abs")
    if size is not None:  # as truncation is spelled
        quotient = _quotient(size.inputs[0])
        return tf.floor(x) if quotient is None else _floor_div(tf.abs(quotient[0]), abs(quotient[1]))
    quotient = _quotient(x)
    return tf.floor(x) if quotient is None else _floor_div(*quotient)


def _ceil(x: Any) -> Any:
    import tensorflow as tf

    quotient = _quotient(x)
    return tf.math.ceil(x) if quotient is None else -_floor_div(-quotient[0], quotient[1])


def _truncated(x: Any, to: Any) -> Any:
    """The quotient towards zero, where it becomes an integer; None where it is none."""
    import tensorflow as tf

    quotient = _quotient(x)
    if quotient is None or not tf.as_dtype(to).is_integer:
        return None
    return tf.cast(_floor_div(tf.abs(quotient[0]), abs(quotient[1])) * tf.sign(x), to)


def _producer(x: Any, kind: str) -> Any:
    """The operation that computes a tensor, if it is of that type."""
    op = getattr(x, "op", None)
    return op if op is not None and op.type == kind else None


def _quotient(x: Any) -> tuple[Any, Any] | None:
    """What is divided, and the constants by which, if their reciprocals are not exact."""
    import numpy as np
    import tensorflow as tf

    op = _producer(x, "RealDiv")
    divisor = tf.get_static_value(op.inputs[1]) if op is not None else None
    if op is None or divisor is None or divisor.dtype != np.float32:
        return None
    exact = np.abs(np.frexp(divisor)[0]) == 0.5  # powers of two
    plain = np.isfinite(divisor).all() and (divisor != 0).all()
    return (op.inputs[0], divisor) if plain and not exact.all() else None


def _floor_div(x: Any, divisor: Any) -> Any:
    """TFLite's kernel broadcasts over four axes at most."""
    import tensorflow as tf

    if len(x.shape) <= 4:
        return tf.raw_ops.FloorDiv(x=x, y=tf.constant(divisor))
    if divisor.size > 1:
        return tf.floor(x / divisor)
    flat = tf.raw_ops.FloorDiv(x=tf.reshape(x, [-1]), y=tf.constant(divisor.reshape(())))
    return tf.reshape(flat, tf.shape(x))
