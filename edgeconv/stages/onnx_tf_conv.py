"""Conv and ConvTranspose for onnx-tf: grouped convs stay one op, depthwise become depthwise, pads fold into SAME."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import _padded, _pads, effective, refuse, same_padding, to_first, to_last


def define() -> None:
    """Register both handlers."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Conv")
    class Conv(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_conv(node, kwargs["tensor_dict"])]

    @onnx_op("ConvTranspose")
    class ConvTranspose(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_conv_transpose(node, kwargs["tensor_dict"])]

    keep.extend([Conv, ConvTranspose])


#: Subclasses are found through weak references: something must hold them.
keep: list[Any] = []


def _conv(node: Any, tensors: dict[str, Any]) -> Any:
    import tensorflow as tf

    x, w = tensors[node.inputs[0]], tensors[node.inputs[1]]
    bias = tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    rank = len(w.shape)
    spatial = rank - 2
    kernel = list(w.shape[2:])
    strides = list(node.attrs.get("strides") or [1] * spatial)
    dilations = list(node.attrs.get("dilations") or [1] * spatial)
    group = int(node.attrs.get("group", 1))
    x = tf.transpose(x, to_last(rank))
    if spatial == 1:  # TFLite has no 1-D conv: a second spatial axis of size 1 in front
        x, w = tf.expand_dims(x, 1), tf.expand_dims(w, 2)
    channels = x.shape[-1]
    if spatial == 1:
        full = ([1, *kernel], [1, *strides], [1, *dilations])
        pairs = [(0, 0), *_pads(node.attrs, x.shape[2:-1], effective(kernel, dilations), strides)]
    else:
        full = (kernel, strides, dilations)
        pairs = _pads(node.attrs, x.shape[1:-1], effective(kernel, dilations), strides)
    y = _convolve(tf, x, w, *full, pairs, group, channels)
    if bias is not None:
        # TensorFlow fuses Conv2D and BiasAdd at run time, and has no fused kernel for groups
        plain = spatial == 3 or group not in (1, channels)
        y = tf.add(y, tf.reshape(bias, [1] * (len(y.shape) - 1) + [-1])) if plain else tf.nn.bias_add(y, bias)
    if spatial == 1:
        y = tf.squeeze(y, 1)
    return tf.transpose(y, to_first(rank))


def _convolve(
    tf: Any, x: Any, w: Any, kernel: Any, strides: Any, dilations: Any, pairs: Any, group: int, channels: int
) -> Any:
    """NHWC input, ONNX weight [O, I/group, …]; no bias."""
    x, padding = _padded(tf, x, pairs, effective(kernel, dilations), strides, 0.0)
    if len(kernel) == 3:
        if group != 1:
            parts = zip(tf.split(x, group, -1), tf.split(w, group, 0), strict=True)
            return tf.concat([_conv3d(tf, a, b, strides, dilations, padding) for a, b in parts], -1)
        return _conv3d(tf, x, w, strides, dilations, padding)
    equal_strides = strides[0] == strides[1]
    if group == channels and group > 1 and equal_strides:
        multiplier = w.shape[0] // group
        # [C·M, 1, H, W] → [H, W, C, M]: output channel c·M + m, as in ONNX
        filters = tf.reshape(tf.transpose(w, [2, 3, 0, 1]), [*kernel, group, multiplier])
        return tf.nn.depthwise_conv2d(x, filters, [1, *strides, 1], padding, dilations=list(dilations))
    return tf.nn.conv2d(x, tf.transpose(w, [2, 3, 1, 0]), list(strides), padding, dilations=list(dilations))


def _conv3d(tf: Any, x: Any, w: Any, strides: Any, dilations: Any, padding: str) -> Any:
    return tf.nn.conv3d(x, tf.transpose(w, [2, 3, 4, 1, 0]), [1, *strides, 1], padding, dilations=[1, *dilations, 1])


def _conv_transpose(node: Any, tensors: dict[str, Any]) -> Any:
    """The full transposed conv (VALID in TensorFlow's terms), cropped or extended to what ONNX asks for."""
    import tensorflow as tf

    x, w = tensors[node.inputs[0]], tensors[node.inputs[1]]
    bias = tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    rank = len(w.shape)
    spatial = rank - 2
    kernel, group = list(w.shape[2:]), int(node.attrs.get("group", 1))
    strides = list(node.attrs.get("strides") or [1] * spatial)
    dilations = list(node.attrs.get("dilations") or [1] * spatial)
    extra = list(node.attrs.get("output_padding") or [0] * spatial)
    window = effective(kernel, dilations)
    if any(d != 1 for d in dilations):  # zeros between the taps: TRANSPOSE_CONV knows no dilation
        w = _dilate(tf, w, dilations)
    x = tf.transpose(x, to_last(rank))
    size = list(x.shape[1:-1])
    if None in size:
        raise refuse(node, "its input has no fixed size")
    full = [(n - 1) * s + k for n, s, k in zip(size, strides, window, strict=True)]
    pairs = _transpose_pads(node.attrs, size, strides, window, extra)
    if spatial == 1:
        x, w = tf.expand_dims(x, 1), tf.expand_dims(w, 2)
        size, strides, full, pairs, extra = [1, *size], [1, *strides], [1, *full], [(0, 0), *pairs], [0, *extra]
    batch = x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]
    parts = []
    for part, weight in zip(tf.split(x, group, -1), tf.split(w, group, 0), strict=True):
        filters = tf.transpose(weight, [*range(2, len(weight.shape)), 1, 0])  # [I, O, H, W] → [H, W, O, I]
        wanted = _wanted(node.attrs, full, pairs, extra)
        outer = filters.shape[-2]
        transposed = tf.nn.conv3d_transpose if spatial == 3 else tf.nn.conv2d_transpose
        if _is_same(size, strides, wanted, pairs, list(filters.shape[:-2])):
            parts.append(transposed(part, filters, [batch, *wanted, outer], strides, "SAME"))
            continue
        grown = [max(f, before + w_) for f, (before, _), w_ in zip(full, pairs, wanted, strict=True)]
        y = transposed(part, filters, [batch, *full, outer], strides, "VALID")
        if grown != full:
            y = tf.pad(y, [(0, 0), *[(0, g - f) for g, f in zip(grown, full, strict=True)], (0, 0)])
        starts = [0, *[before for before, _ in pairs], 0]
        parts.append(tf.slice(y, starts, [-1, *wanted, -1]) if grown != wanted else y)
    y = parts[0] if group == 1 else tf.concat(parts, -1)
    if bias is not None:
        y = tf.add(y, tf.reshape(bias, [1, 1, 1, 1, -1])) if spatial == 3 else tf.nn.bias_add(y, bias)
    if spatial == 1:
        y = tf.squeeze(y, 1)
    return tf.transpose(y, to_first(rank))


def _wanted(attributes: dict[str, Any], full: Any, pairs: Any, extra: Any) -> list[int]:
    """Spatial size of the result: what `output_shape` says, else what pads leave."""
    shape = attributes.get("output_shape")
    found = [f - before - after + e for f, (before, after), e in zip(full, pairs, extra, strict=True)]
    if shape is None:
        return found
    given = [int(n) for n in shape][-len(found) :]
    return [*found[: len(found) - len(given)], *given]


def _is_same(size: Any, strides: Any, wanted: Any, pairs: Any, kernel: Any) -> bool:
    """Whether SAME gives the wanted size and crops on the same sides: then no slice is needed."""
    if any(w != n * s for w, n, s in zip(wanted, size, strides, strict=True)):
        return False
    return bool([before for before, _ in pairs] == [before for before, _ in same_padding(wanted, kernel, strides)])


def _transpose_pads(
    attributes: dict[str, Any], size: Any, strides: Any, window: Any, extra: Any
) -> list[tuple[int, int]]:
    """What is cropped before and after, by `output_shape`, `auto_pad` or `pads`."""
    mode = attributes.get("auto_pad", "NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    shape = attributes.get("output_shape")
    if shape is not None or mode in {"SAME_UPPER", "SAME_LOWER"}:
        wanted = list(shape[-len(size) :]) if shape is not None else [n * s for n, s in zip(size, strides, strict=True)]
        pairs = []
        for n, s, k, e, out in zip(size, strides, window, extra, wanted, strict=True):
            total = max(s * (n - 1) + e + k - out, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if mode == "SAME_UPPER" else (large, small))
        return pairs
    if mode == "VALID":
        return [(0, 0)] * len(size)
    pads = attributes.get("pads") or [0] * (2 * len(size))
    return list(zip(pads[: len(size)], pads[len(size) :], strict=True))


def _dilate(tf: Any, w: Any, dilations: list[int]) -> Any:
    """A weight with zeros between its taps, [I, O, …]."""
    import numpy as np

    known = tf.get_static_value(w)
    if known is None:  # a computed weight: each axis in pieces of one tap and zeros, without the last zeros
        for axis, step in enumerate(dilations, 2):
            shape = list(w.shape)
            zeros = [(0, 0)] * (len(shape) + 1)
            zeros[axis + 1] = (0, step - 1)
            grown = tf.pad(tf.expand_dims(w, axis + 1), zeros)
            whole = tf.reshape(grown, [*shape[:axis], shape[axis] * step, *shape[axis + 1 :]])
            w = tf.slice(whole, [0] * len(shape), [*shape[:axis], (shape[axis] - 1) * step + 1, *shape[axis + 1 :]])
        return w
    dense = np.asarray(known)
    shape = [*dense.shape[:2], *effective(list(dense.shape[2:]), dilations)]
    spread = np.zeros(shape, dense.dtype)
    spread[(slice(None), slice(None), *[slice(None, None, d) for d in dilations])] = dense
    return tf.constant(spread)
