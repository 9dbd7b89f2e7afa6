"""NonMaxSuppression for onnx-tf: one TFLite builtin a batch entry and class; the stock handler needs variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse

keep: list[Any] = []


def define() -> None:
    """Register the handler."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("NonMaxSuppression")
    class NonMaxSuppression(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_suppress(node, kwargs["tensor_dict"])]

    keep.append(NonMaxSuppression)


def _suppress(node: Any, tensors: dict[str, Any]) -> Any:
    """Rows of (batch, class, box), as many as are left: the number of rows is known at run time only."""
    import tensorflow as tf

    boxes, scores = tensors[node.inputs[0]], tensors[node.inputs[1]]
    limits = [constant_of(tensors[name]) if name else None for name in node.inputs[2:]]
    limits += [None] * (3 - len(limits))
    if any(limit is None and place < len(node.inputs) and node.inputs[place] for place, limit in enumerate(limits, 2)):
        raise refuse(node, "computed limits and thresholds have no TFLite builtin")
    if None in scores.shape:
        raise refuse(node, "its scores have no fixed shape")
    most = int(np.reshape(limits[0], -1)[0]) if limits[0] is not None else 0
    overlap = float(np.reshape(limits[1], -1)[0]) if limits[1] is not None else 0.0
    if overlap < 1:  # TFLite drops a box whose overlap is the threshold, ONNX one above it
        overlap = min(float(np.nextafter(np.float32(overlap), np.float32(1))), 1.0)
    least = float(np.reshape(limits[2], -1)[0]) if limits[2] is not None else float(np.finfo(np.float32).min)
    batch, classes, count = scores.shape
    most = min(most, count)
    if node.attrs.get("center_point_box", 0):
        x, y, w, h = tf.split(boxes, 4, -1)
        boxes = tf.concat([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    rows, taken = [], []
    for entry in range(batch):
        for kind in range(classes):
            found, valid = tf.raw_ops.NonMaxSuppressionV4(
                boxes=boxes[entry], scores=scores[entry, kind], max_output_size=most, iou_threshold=overlap,
                score_threshold=least, pad_to_max_output_size=True,
            )  # fmt: skip
            place = tf.constant(np.tile([[entry, kind]], (most, 1)).astype(np.int32))
            rows.append(tf.concat([place, tf.reshape(found, [most, 1])], 1))
            taken.append(tf.less(tf.range(most), valid))
    every = tf.concat(rows, 0) if len(rows) > 1 else rows[0]
    live = tf.concat(taken, 0) if len(taken) > 1 else taken[0]
    chosen = tf.reshape(tf.where(live), [-1])
    return tf.cast(tf.gather(every, chosen), tf.int64)
