"""Slice for onnx-tf with static bounds: the stock handler builds them in the graph, with loops that stay in the .tflite.

A step greater than 1 becomes a RESHAPE that gives the step an axis of its own, and a SLICE of that: XNNPACK takes both, and no
strided slice.
"""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of

keep: list[Any] = []

#: XNNPACK's XNN_MAX_TENSOR_DIMS.
MOST_AXES = 6


def define() -> None:
    """Register the handler; computed bounds go to onnx-tf's own."""
    from onnx_tf.handlers.backend.slice import Slice as Stock
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Slice")
    class Slice(BackendHandler):  # onnx-tf sees direct subclasses only
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            made = _slice(node, kwargs["tensor_dict"])
            return Stock.version_13(node, **kwargs) if made is None else [made]

    keep.append(Slice)


def _slice(node: Any, tensors: dict[str, Any]) -> Any:
    import tensorflow as tf

    x = tensors[node.inputs[0]]
    given = [constant_of(tensors[name]) if name else () for name in node.inputs[1:]]
    if x.shape.rank is None or any(value is None for value in given):
        return None
    starts, ends, axes, steps = ([int(n) for n in value] for value in [*given, (), ()][:4])
    axes = [axis % x.shape.rank for axis in axes] or list(range(len(starts)))
    begin, size = [0] * x.shape.rank, list(x.shape)
    strided: list[tuple[int, slice]] = []
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        length = x.shape[axis]
        if length is None:
            if (start, step) == (0, 1) and end >= 2**31 - 1:
                continue
            return None
        taken = slice(start, None if step < 0 and end < -length else end, step)
        if step != 1:
            strided.append((axis, taken))
            continue
        first, last, _ = taken.indices(length)
        begin[axis], size[axis] = first, max(last - first, 0)
    if begin != [0] * x.shape.rank or size != list(x.shape):
        # −1 takes everything that is left of an axis of unknown length
        x = tf.slice(x, begin, [-1 if n is None else n for n in size])
    for axis, taken in strided:
        x = _strided(tf, x, axis, taken)
    return tf.identity(x)


def _strided(tf: Any, x: Any, axis: int, taken: slice) -> Any:
    """One axis with a step: a slice of the axis split in two where the elements lie in whole blocks of the step."""
    places = range(*taken.indices(x.shape[axis]))
    if not places:
        return x[(slice(None),) * axis + (slice(0, 0),)]
    count, step = len(places), abs(places.step)
    if places.step < 0:
        return tf.reverse(_strided(tf, x, axis, slice(places[-1], places[0] + 1, step)), [axis])
    over = max(places[0] + count * step - x.shape[axis], 0)  # elements missing to a whole last block
    if None in x.shape or x.shape.rank >= MOST_AXES or over > min(places[0], step - 1):
        return x[(slice(None),) * axis + (slice(places[0], places[-1] + 1, step),)]
    shape = list(x.shape)
    begin = [0] * len(shape)
    begin[axis] = places[0] - over
    blocks = tf.slice(x, begin, [*shape[:axis], count * step, *shape[axis + 1 :]])
    blocks = tf.reshape(blocks, [*shape[:axis], count, step, *shape[axis + 1 :]])
    inner = [0] * (len(shape) + 1)
    inner[axis + 1] = over
    one = tf.slice(blocks, inner, [*shape[:axis], count, 1, *shape[axis + 1 :]])
    return tf.reshape(one, [*shape[:axis], count, *shape[axis + 1 :]])
