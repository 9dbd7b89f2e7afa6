"""Differences and quotients whose left side is constant.

TensorFlow's converter (2.21) moves a transpose behind such an op, and takes the constant for the right side as it does so:
`1 - transpose(x)` becomes `transpose(x - 1)`. It only looks for constants that are scalars or have as many axes as the other
side, so here they have fewer, or one more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def minus(left: Any, right: Any) -> Any:
    """`left - right`."""
    import tensorflow as tf

    return _apart(tf.subtract, left, right)


def over(left: Any, right: Any) -> Any:
    """`left / right`, of floats."""
    import tensorflow as tf

    return _apart(tf.divide, left, right)


def define() -> list[Any]:
    """Register the handlers of the ONNX ops that are such; returns them, to be kept."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Sub")
    class Sub(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [minus(*(kwargs["tensor_dict"][name] for name in node.inputs))]

    @onnx_op("Reciprocal")
    class Reciprocal(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [over(1.0, kwargs["tensor_dict"][node.inputs[0]])]

    return [Sub, Reciprocal]


def _apart(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    import tensorflow as tf

    right = tf.convert_to_tensor(right)
    left = tf.convert_to_tensor(left, dtype=right.dtype)
    known, rank = tf.get_static_value(left), right.shape.rank
    if known is None or rank is None or rank < 2 or known.ndim > rank or tf.get_static_value(right) is not None:
        return function(left, right)
    while known.ndim > 1 and known.shape[0] == 1:
        known = known[0]
    if known.ndim < rank:
        return function(tf.constant(known.reshape(known.shape or (1,))), right)
    made = function(tf.constant(known[None]), right)
    return tf.squeeze(made, 0)
