"""Our own onnx-tf handlers, for ops whose stock handler is wrong, missing, or makes the file slow.

They are registered by onnx-tf's own mechanism: a later subclass of BackendHandler with the same ONNX_OP takes the place
of an earlier one. All of them put one transpose before and one after an op that TensorFlow has in NHWC only; graphs
rewritten by `rewrite.channels_last` carry the inverse transposes, and the TFLite converter cancels the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeconv.errors import UnsupportedOp


def to_last(rank: int) -> list[int]:
    """Permutation from channels first to channels last, for a tensor of `rank`."""
    return [0, *range(2, rank), 1]


def to_first(rank: int) -> list[int]:
    """The inverse of `to_last`."""
    return [0, rank - 1, *range(1, rank - 1)]


def same_padding(size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of TensorFlow's SAME padding, one pair a spatial axis.

    Args:
        size: of the input's spatial axes.
        kernel: effective size, dilation included.
        strides: of the op.
    """
    pairs = []
    for length, window, stride in zip(size, kernel, strides, strict=True):
        out = -(-length // stride)
        total = max((out - 1) * stride + window - length, 0)
        pairs.append((total // 2, total - total // 2))
    return pairs


def _pads(attributes: dict[str, Any], size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> Any:
    """The explicit (before, after) pairs that an ONNX node's `pads` or `auto_pad` mean."""
    mode = attributes.get("auto_pad", "NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    spatial = len(kernel)
    if mode == "VALID":
        return [(0, 0)] * spatial
    if mode in {"SAME_UPPER", "SAME_LOWER"}:
        upper = same_padding(size, kernel, strides)
        return upper if mode == "SAME_UPPER" else [(after, before) for before, after in upper]
    pads = attributes.get("pads") or [0] * (2 * spatial)
    return list(zip(pads[:spatial], pads[spatial:], strict=True))


def _padded(tf: Any, x: Any, pairs: list[tuple[int, int]], kernel: Any, strides: Any, value: float) -> tuple[Any, str]:
    """The NHWC input, padded unless SAME does the same, and TensorFlow's name for what remains."""
    if not any(before or after for before, after in pairs):
        return x, "VALID"
    size = x.shape[1:-1]
    if None not in size and pairs == same_padding(size, kernel, strides):
        return x, "SAME"
    full = [(0, 0), *pairs, (0, 0)]
    return (tf.pad(x, full) if value == 0.0 else tf.pad(x, full, constant_values=value)), "VALID"


def register() -> None:
    """Define the handler classes; onnx-tf finds them by itself from then on."""
    from edgeconv.stages import (
        onnx_tf_conv,
        onnx_tf_gather,
        onnx_tf_loop,
        onnx_tf_math,
        onnx_tf_nms,
        onnx_tf_pad,
        onnx_tf_pool,
        onnx_tf_resize,
        onnx_tf_round,
        onnx_tf_scan,
        onnx_tf_scatter,
        onnx_tf_select,
        onnx_tf_slice,
    )

    onnx_tf_conv.define()
    onnx_tf_pool.define()
    onnx_tf_pad.define()
    onnx_tf_slice.define()
    onnx_tf_scan.define()
    onnx_tf_gather.define()
    onnx_tf_scatter.define()
    onnx_tf_loop.define()
    onnx_tf_math.define()
    onnx_tf_nms.define()
    onnx_tf_select.define()
    onnx_tf_resize.define()
    onnx_tf_round.define()


def refuse(node: Any, why: str) -> UnsupportedOp:
    """The error of a node that a handler cannot express."""
    return UnsupportedOp(f"the {node.op_type} node {node.name!r}: {why}")


def effective(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Kernel size with dilation."""
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


def constant_of(value: Any) -> Any:
    """A numpy array of a constant tensor; None if it is computed."""
    import tensorflow as tf

    if isinstance(value, np.ndarray):
        return value
    return tf.get_static_value(value)
