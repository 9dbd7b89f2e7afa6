"""Loop for onnx-tf as one TensorFlow while loop: the stock handler grows lists that TFLite cannot hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse
from edgeconv.stages.onnx_tf_scan import _as, _dtype, _shape, run_graph

keep: list[Any] = []


def define() -> None:
    """Register the handler."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Loop")
    class Loop(BackendHandler):
        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return _loop(node, kwargs["tensor_dict"])

    keep.append(Loop)


def _loop(node: Any, tensors: dict[str, Any]) -> list[Any]:
    import tensorflow as tf

    body = node.attrs["body"]
    most = tensors[node.inputs[0]] if node.inputs[0] else None
    start = tensors[node.inputs[1]] if len(node.inputs) > 1 and node.inputs[1] else True
    states = [tf.convert_to_tensor(tensors[name]) for name in node.inputs[2:]]
    kinds = [tf.TensorSpec(_shape(value), _dtype(value)) for value in body.output[1 + len(states) :]]
    known = constant_of(most) if most is not None else None
    if kinds and known is None:
        raise refuse(node, "it collects rows without a constant limit to how many")
    turns = int(np.reshape(known, -1)[0]) if known is not None else None
    limit = (
        tf.constant(np.iinfo(np.int32).max if most is None else turns) if turns is not None or most is None else None
    )
    limit = tf.cast(tf.reshape(most, []), tf.int32) if limit is None else limit
    arrays = [tf.TensorArray(kind.dtype, turns or 0, element_shape=kind.shape) for kind in kinds]

    def once(turn: Any, going: Any, now: list[Any], made: list[Any]) -> tuple[Any, Any, list[Any], list[Any]]:
        results = run_graph(body, tensors, [tf.cast(turn, tf.int64), going, *now])
        more = tf.reshape(tf.cast(results[0], tf.bool), [])
        new = [_as(tf, one, old) for one, old in zip(results[1:], now, strict=False)]
        rows = zip(made, results[1 + len(now) :], strict=True)
        return turn + 1, more, new, [array.write(turn, row) for array, row in rows]

    first = tf.reshape(tf.cast(tf.convert_to_tensor(start), tf.bool), [])
    count, _, last, made = tf.while_loop(
        lambda turn, going, *_: tf.logical_and(tf.less(turn, limit), going),
        once, [tf.constant(0), first, states, arrays],
    )  # fmt: skip
    rows = [array.stack() for array in made]
    if not _always(body, constant_of(start) if not isinstance(start, bool) else np.array(start)):
        rows = [row[:count] for row in rows]
    return [*last, *rows]


def _always(body: Any, start: Any) -> bool:
    """Whether the loop runs to its limit: its condition begins true and is handed on as it is, or is a constant."""
    from onnx import numpy_helper

    if start is None or not bool(np.all(start)):
        return False
    wanted = body.output[0].name
    if any(t.name == wanted and bool(np.all(numpy_helper.to_array(t))) for t in body.initializer):
        return True
    while wanted != body.input[1].name:
        maker = next((node for node in body.node if wanted in node.output), None)
        if maker is None or maker.op_type != "Identity":
            return False
        wanted = maker.input[0]
    return True
