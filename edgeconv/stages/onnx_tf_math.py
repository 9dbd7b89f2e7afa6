"""Functions that TFLite has no builtin for, or none for all types, out of those it has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from edgeconv.rewrite.spell_gelu import IN_GELU
from edgeconv.stages import onnx_tf_left
from edgeconv.stages.onnx_tf_left import minus, over

keep: list[Any] = []


def define() -> None:
    """Register one handler a function, for the versions that opset 13 has."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    for op, (version, compute) in _FUNCTIONS.items():
        kind = type(op, (BackendHandler,), {f"version_{version}": classmethod(functools.partial(_call, compute))})
        keep.append(onnx_op(op)(kind))

    @onnx_op("Erf")
    class Erf(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            import tensorflow as tf

            compute = tf.math.erf if IN_GELU in node.name else _erf
            return [compute(kwargs["tensor_dict"][node.inputs[0]])]

    @onnx_op("BitShift")
    class BitShift(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_shift(node, kwargs["tensor_dict"])]

    @onnx_op("Div")
    class Div(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_div(*(kwargs["tensor_dict"][name] for name in node.inputs))]

    keep.extend([BitShift, Div, Erf, *onnx_tf_left.define()])


def _call(compute: Callable[[Any], Any], _: Any, node: Any, **kwargs: Any) -> list[Any]:
    return [compute(kwargs["tensor_dict"][node.inputs[0]])]


def _atan(x: Any) -> Any:
    import tensorflow as tf

    return tf.atan2(x, tf.ones_like(x))


def _asin(x: Any) -> Any:
    import tensorflow as tf

    return tf.atan2(x, tf.sqrt(minus(1.0, x) * (1.0 + x)))


def _acos(x: Any) -> Any:
    import tensorflow as tf

    return tf.atan2(tf.sqrt(minus(1.0, x) * (1.0 + x)), x)


def _acosh(x: Any) -> Any:
    import tensorflow as tf

    return tf.math.log(x + tf.sqrt((x - 1.0) * (x + 1.0)))


def _asinh(x: Any) -> Any:
    """Of |x|, where nothing cancels, with the sign put back."""
    import tensorflow as tf

    size = tf.abs(x)
    return tf.sign(x) * tf.math.log(size + tf.sqrt(size * size + 1.0))


def _atanh(x: Any) -> Any:
    import tensorflow as tf

    return 0.5 * (tf.math.log(1.0 + x) - tf.math.log(minus(1.0, x)))


def _cosh(x: Any) -> Any:
    import tensorflow as tf

    return 0.5 * (tf.exp(x) + tf.exp(-x))


def _sinh(x: Any) -> Any:
    import tensorflow as tf

    return 0.5 * (tf.exp(x) - tf.exp(-x))


def _tan(x: Any) -> Any:
    import tensorflow as tf

    return tf.sin(x) / tf.cos(x)


def _erf(x: Any) -> Any:
    """Abramowitz and Stegun 7.1.26, off by at most 1.5e-7: as close as float32 sums come."""
    import tensorflow as tf

    size = tf.abs(x)
    t = over(1.0, 1.0 + 0.3275911 * size)
    poly = t * 1.061405429 - 1.453152027
    for factor in (1.421413741, -0.284496736, 0.254829592):
        poly = poly * t + factor
    return tf.sign(x) * minus(1.0, poly * t * tf.exp(-size * size))


def _abs(x: Any) -> Any:
    """TFLite's own takes no 64 bits."""
    import tensorflow as tf

    return tf.maximum(x, -x) if x.dtype == tf.int64 else tf.abs(x)


def _sign(x: Any) -> Any:
    """TFLite's own takes no 64 bits."""
    import tensorflow as tf

    return tf.maximum(tf.minimum(x, 1), -1) if x.dtype == tf.int64 else tf.sign(x)


def _div(x: Any, y: Any) -> Any:
    """Integers round to zero, as in ONNX: the quotient rounded down, one more where something was left below zero."""
    import tensorflow as tf

    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    if not x.dtype.is_integer:
        return over(x, y)
    if x.dtype == tf.int64:  # TFLite divides 32 bits
        return tf.cast(_div(tf.cast(x, tf.int32), tf.cast(y, tf.int32)), tf.int64)
    down = tf.math.floordiv(x, y)
    left = tf.logical_and(tf.not_equal(down * y, x), tf.not_equal(tf.less(x, 0), tf.less(y, 0)))
    return down + tf.cast(left, x.dtype)


def _shift(node: Any, tensors: dict[str, Any]) -> Any:
    """Shifts right are a builtin; shifts left are products with a power of two, looked up."""
    import numpy as np
    import tensorflow as tf

    x, count = tensors[node.inputs[0]], tensors[node.inputs[1]]
    direction = node.attrs["direction"]
    direction = direction.decode() if isinstance(direction, bytes) else direction
    if direction == "RIGHT":
        return tf.bitwise.right_shift(x, count)
    wide = tf.int64 if x.dtype in (tf.int64, tf.uint32, tf.uint64) else tf.int32
    powers = np.left_shift(np.array(1, wide.as_numpy_dtype), np.arange(x.dtype.size * 8, dtype=wide.as_numpy_dtype))
    return tf.cast(tf.cast(x, wide) * tf.gather(tf.constant(powers), tf.cast(count, tf.int32)), x.dtype)


_FUNCTIONS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "Abs": (13, _abs),
    "Sign": (13, _sign),
    "Acos": (7, _acos),
    "Acosh": (9, _acosh),
    "Asin": (7, _asin),
    "Asinh": (9, _asinh),
    "Atan": (7, _atan),
    "Atanh": (9, _atanh),
    "Cosh": (9, _cosh),
    "Sinh": (9, _sinh),
    "Tan": (7, _tan),
}
