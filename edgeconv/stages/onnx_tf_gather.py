"""GatherElements and GatherND for onnx-tf, as TFLite's GATHER.

Its own GatherElements takes no axis that is counted from the end. Its own GatherND looks for indices out of bounds in a loop:
a WHILE in the .tflite, and with one LiteRT 2.3 was seen to compute from inputs of earlier calls.
"""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of, refuse

keep: list[Any] = []


def define() -> None:
    """Register the handlers."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("GatherElements")
    class GatherElements(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_elements(node, kwargs["tensor_dict"])]

        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_elements(node, kwargs["tensor_dict"])]

    @onnx_op("GatherND")
    class GatherND(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_slices(node, kwargs["tensor_dict"])]

        @classmethod
        def version_12(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_slices(node, kwargs["tensor_dict"])]

        @classmethod
        def version_13(cls, node: Any, **kwargs: Any) -> list[Any]:
            return [_slices(node, kwargs["tensor_dict"])]

    keep.extend([GatherElements, GatherND])


def from_start(indices: Any, length: Any) -> Any:
    """Indices as int32, those below zero counted from the end; an array where they are constant. `length` broadcasts."""
    import numpy as np
    import tensorflow as tf

    known = constant_of(indices)
    if known is not None:
        return np.where(known < 0, known + length, known).astype(np.int32)
    where = tf.cast(indices, tf.int32)
    return tf.where(where < 0, where + length, where)


def _elements(node: Any, tensors: dict[str, Any]) -> Any:
    """Along the last axis of equal others: one GATHER, row by row. Else a GATHER from the elements numbered through."""
    import tensorflow as tf

    data, indices, shape, taken = known(node, tensors)
    axis = int(node.attrs.get("axis", 0)) % len(shape)
    if axis == len(shape) - 1 and taken[:-1] == shape[:-1]:
        return tf.gather(data, from_start(indices, shape[axis]), axis=axis, batch_dims=axis)
    return tf.gather(tf.reshape(data, [-1]), numbered(indices, shape, taken, axis))


def numbered(indices: Any, shape: list[int], taken: list[int], axis: int) -> Any:
    """Which element of all, of a tensor of `shape`, each index along `axis` means; int32, of the indices' shape `taken`."""
    import numpy as np

    steps = [int(np.prod(shape[a + 1 :])) for a in range(len(shape))]
    others = sum(grid * steps[a] for a, grid in enumerate(np.indices(taken)) if a != axis)
    return from_start(indices, shape[axis]) * steps[axis] + np.broadcast_to(others, taken).astype(np.int32)


def _slices(node: Any, tensors: dict[str, Any]) -> Any:
    """A GATHER from the slices numbered through."""
    import numpy as np
    import tensorflow as tf

    data, indices, shape, taken = known(node, tensors)
    batch, depth = int(node.attrs.get("batch_dims", 0)), taken[-1]
    lengths = np.array(shape[batch : batch + depth], np.int32)
    where = from_start(indices, lengths)
    steps = np.array([int(np.prod(lengths[a + 1 :])) for a in range(depth)], np.int32)
    number = tf.reshape(where, taken[:-1]) if depth == 1 else tf.reduce_sum(where * steps, -1)
    if batch:
        first = np.arange(int(np.prod(shape[:batch])), dtype=np.int32) * np.prod(lengths, dtype=np.int32)
        number = number + first.reshape([*shape[:batch], *[1] * (len(taken) - 1 - batch)])
    tail = shape[batch + depth :]
    return tf.gather(tf.reshape(data, [int(np.prod(shape[: batch + depth])), *tail]), number)


def known(node: Any, tensors: dict[str, Any]) -> tuple[Any, Any, list[int], list[int]]:
    """Data and indices, and their shapes."""
    import tensorflow as tf

    data, indices = (tf.convert_to_tensor(tensors[name]) for name in node.inputs[:2])
    shape, taken = data.shape.as_list(), indices.shape.as_list()
    if None in taken:
        raise refuse(
            node, "how many places it takes depends on the input (as x[mask] does), and a TFLite shape does not"
        )
    if None in shape:
        raise refuse(node, "its input has no fixed shape")
    return data, indices, shape, taken
