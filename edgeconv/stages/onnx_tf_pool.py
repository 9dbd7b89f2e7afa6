"""MaxPool and AveragePool for onnx-tf, with explicit pads, ceil mode and dilation, as few builtins as possible."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from edgeconv.stages.onnx_tf_handlers import _padded, _pads, effective, refuse, same_padding, to_first, to_last

keep: list[Any] = []


def define() -> None:
    """Register both handlers, for all versions that opset 13 can ask for."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("MaxPool")
    class MaxPool(BackendHandler):
        @classmethod
        def version_12(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_pool(node, kwargs["tensor_dict"], is_max=True)]

    @onnx_op("AveragePool")
    class AveragePool(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_pool(node, kwargs["tensor_dict"], is_max=False)]

    keep.extend([MaxPool, AveragePool])


def _pool(node: Any, tensors: dict[str, Any], *, is_max: bool) -> Any:
    import tensorflow as tf

    if len(node.outputs) > 1:
        raise refuse(node, "the indices of a max pool have no TFLite builtin")
    x = tensors[node.inputs[0]]
    kernel = list(node.attrs["kernel_shape"])
    spatial, rank = len(kernel), len(kernel) + 2
    strides = list(node.attrs.get("strides") or [1] * spatial)
    dilations = list(node.attrs.get("dilations") or [1] * spatial)
    x = tf.transpose(x, to_last(rank))
    size = list(x.shape[1:-1])
    if None in size:
        raise refuse(node, "its input has no fixed size")
    window = effective(kernel, dilations)
    pairs = _pads(node.attrs, size, window, strides)
    if node.attrs.get("ceil_mode", 0):
        pairs, real = _ceiled(size, window, strides, pairs), pairs
    else:
        real = pairs
    if spatial == 1:
        x = tf.expand_dims(x, 1)
        kernel, strides, dilations = [1, *kernel], [1, *strides], [1, *dilations]
        pairs, real = [(0, 0), *pairs], [(0, 0), *real]
    dtype = x.dtype
    if not dtype.is_floating:
        x = tf.cast(x, tf.float32)
    y = (
        _max(tf, x, kernel, strides, dilations, pairs)
        if is_max
        else _average(tf, node, x, kernel, strides, pairs, real)
    )
    if not dtype.is_floating:
        y = tf.cast(y, dtype)
    if spatial == 1:
        y = tf.squeeze(y, 1)
    return tf.transpose(y, to_first(rank))


def _ceiled(size: Any, window: Any, strides: Any, pairs: Any) -> list[tuple[int, int]]:
    """Pads grown so that the last, partial window counts; a window that begins in the padding does not."""
    grown = []
    for n, k, s, (before, after) in zip(size, window, strides, pairs, strict=True):
        out = -(-(n + before + after - k) // s) + 1
        if (out - 1) * s >= n + before:
            out -= 1
        grown.append((before, max((out - 1) * s + k - n - before, 0)))
    return grown


def _max(tf: Any, x: Any, kernel: Any, strides: Any, dilations: Any, pairs: Any) -> Any:
    lowest = float(np.finfo(np.float32).min)
    if any(d != 1 for d in dilations):
        return _max_of_slices(tf, x, kernel, strides, dilations, pairs, lowest)
    x, padding = _padded(tf, x, pairs, kernel, strides, lowest)
    if len(kernel) == 3:
        return _separable_3d(tf, x, kernel, strides, padding)
    return tf.nn.max_pool2d(x, kernel, strides, padding)


def _separable_3d(tf: Any, x: Any, kernel: Any, strides: Any, padding: str) -> Any:
    """A 3-D max pool as a 2-D one over height and width, then one over depth: TFLite pools two axes at most."""
    n, d, h, w, c = x.shape
    flat = tf.reshape(x, [n * d, h, w, c])
    flat = tf.nn.max_pool2d(flat, kernel[1:], strides[1:], padding)
    _, h2, w2, _ = flat.shape
    deep = tf.reshape(flat, [n, d, h2 * w2, c])
    deep = tf.nn.max_pool2d(deep, [kernel[0], 1], [strides[0], 1], padding)
    return tf.reshape(deep, [n, deep.shape[1], h2, w2, c])


def _max_of_slices(tf: Any, x: Any, kernel: Any, strides: Any, dilations: Any, pairs: Any, lowest: float) -> Any:
    """A dilated max pool: the maximum of one strided slice a tap."""
    x = tf.pad(x, [(0, 0), *pairs, (0, 0)], constant_values=lowest)
    size = list(x.shape[1:-1])
    outs = [(n - e) // s + 1 for n, e, s in zip(size, effective(kernel, dilations), strides, strict=True)]
    best = None
    for tap in np.ndindex(*kernel):
        starts = [t * d for t, d in zip(tap, dilations, strict=True)]
        ends = [a + (o - 1) * s + 1 for a, o, s in zip(starts, outs, strides, strict=True)]
        piece = tf.strided_slice(x, [0, *starts, 0], [x.shape[0], *ends, x.shape[-1]], [1, *strides, 1])
        best = piece if best is None else tf.maximum(best, piece)
    return best


def _average(tf: Any, node: Any, x: Any, kernel: Any, strides: Any, pairs: Any, real: Any) -> Any:
    """TFLite's SAME leaves padding out of the mean; explicit zeros count, so they are divided out again."""
    include = bool(node.attrs.get("count_include_pad", 0))
    size = list(x.shape[1:-1])
    if len(kernel) == 3:
        return _average_3d(tf, x, kernel, strides, pairs, _counts(size, kernel, strides, pairs, real, include=include))
    if not any(before or after for before, after in pairs):
        return tf.nn.avg_pool2d(x, kernel, strides, "VALID")
    if not include and pairs == same_padding(size, kernel, strides):
        return tf.nn.avg_pool2d(x, kernel, strides, "SAME")
    y = tf.nn.avg_pool2d(tf.pad(x, [(0, 0), *pairs, (0, 0)]), kernel, strides, "VALID")
    counts = _counts(size, kernel, strides, pairs, real, include=include)
    factor = (float(np.prod(kernel)) / counts).astype(np.float32)[None, ..., None]
    return y if np.allclose(factor, 1.0) else y * tf.constant(factor)


def _average_3d(tf: Any, x: Any, kernel: Any, strides: Any, pairs: Any, counts: Any) -> Any:
    if any(before or after for before, after in pairs):
        x = tf.pad(x, [(0, 0), *pairs, (0, 0)])
    n, d, h, w, c = x.shape
    flat = tf.nn.avg_pool2d(tf.reshape(x, [n * d, h, w, c]), kernel[1:], strides[1:], "VALID")
    _, h2, w2, _ = flat.shape
    deep = tf.nn.avg_pool2d(tf.reshape(flat, [n, d, h2 * w2, c]), [kernel[0], 1], [strides[0], 1], "VALID")
    y = tf.reshape(deep, [n, deep.shape[1], h2, w2, c])
    factor = (float(np.prod(kernel)) / counts).astype(np.float32)[None, ..., None]
    return y if np.allclose(factor, 1.0) else y * tf.constant(factor)


def _counts(size: Any, kernel: Any, strides: Any, pairs: Any, real: Any, *, include: bool) -> Any:
    """How many elements each window's mean is over, [H', W']."""
    per_axis = []
    for n, k, s, (before, after), (_, real_after) in zip(size, kernel, strides, pairs, real, strict=True):
        out = (n + before + after - k) // s + 1
        starts = np.arange(out) * s - before
        if include:  # padding that ceil mode added does not count
            low, high = np.maximum(starts, -before), np.minimum(starts + k, n + real_after)
        else:
            low, high = np.maximum(starts, 0), np.minimum(starts + k, n)
        per_axis.append(np.maximum(high - low, 1))
    return functools.reduce(np.multiply.outer, per_axis)
