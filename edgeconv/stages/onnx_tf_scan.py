"""Scan for onnx-tf as one TensorFlow while loop: the stock handler's tf.scan grows lists that TFLite cannot hold."""

from __future__ import annotations

from typing import Any

from edgeconv.stages.onnx_tf_handlers import constant_of

keep: list[Any] = []


def define() -> None:
    """Register the handler."""
    from onnx_tf.handlers.backend_handler import BackendHandler
    from onnx_tf.handlers.handler import onnx_op

    @onnx_op("Scan")
    class Scan(BackendHandler):
        @classmethod
        def version_11(cls, node: Any, **kwargs: Any) -> list[Any]:
            return _scan(node, kwargs["tensor_dict"])

    keep.append(Scan)


def run_graph(graph: Any, outer: dict[str, Any], inputs: list[Any]) -> list[Any]:
    """The outputs of a node's subgraph inside a TensorFlow loop or branch.

    Args:
        graph: an `onnx.GraphProto`.
        outer: tensors by name in the graph around it; constants among them are made again inside, since the TFLite
            converter would hand captured ones through the loop as variables, where they are no weights any more.
        inputs: tensors for the graph's inputs.
    """
    import tensorflow as tf
    from onnx import numpy_helper
    from onnx_tf.backend import TensorflowBackend
    from onnx_tf.pb_wrapper import OnnxNode

    from edgeconv.stages import onnx_tf_compat

    table = {"": onnx_tf_compat.handlers(13)}
    tensors = dict(outer)
    inner = {name for node in graph.node for name in node.output}
    for name in {name for node in graph.node for name in node.input} - inner - {""}:
        known = constant_of(outer[name]) if name in outer else None
        if known is not None:
            tensors[name] = tf.constant(known)
    tensors.update({tensor.name: tf.constant(numpy_helper.to_array(tensor)) for tensor in graph.initializer})
    tensors.update({value.name: tensor for value, tensor in zip(graph.input, inputs, strict=True)})
    for node in graph.node:
        wrapped = OnnxNode(node)
        with tf.name_scope(onnx_tf_compat.scope_of(node)):
            results = TensorflowBackend._onnx_node_to_tensorflow_op(wrapped, tensors, table)
        tensors.update(zip(wrapped.outputs, results, strict=False))
    return [tensors[value.name] for value in graph.output]


def _scan(node: Any, tensors: dict[str, Any]) -> list[Any]:
    import tensorflow as tf

    body, count = node.attrs["body"], int(node.attrs["num_scan_inputs"])
    values = [tensors[name] for name in node.inputs]
    states, scanned = values[: len(values) - count], values[len(values) - count :]
    outs = len(body.output) - len(states)
    backwards = list(node.attrs.get("scan_input_directions") or [0] * count)
    out_backwards = list(node.attrs.get("scan_output_directions") or [0] * outs)
    in_axes = [a % len(x.shape) for a, x in zip(node.attrs.get("scan_input_axes") or [0] * count, scanned, strict=True)]
    scanned = [_first(tf, x, axis) for x, axis in zip(scanned, in_axes, strict=True)]
    steps = scanned[0].shape[0] if scanned[0].shape[0] is not None else tf.shape(scanned[0])[0]
    kinds = [tf.TensorSpec(_shape(value), _dtype(value)) for value in body.output[len(states) :]]
    arrays = [tf.TensorArray(kind.dtype, steps, element_shape=kind.shape) for kind in kinds]

    def once(step: Any, now: list[Any], made: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        mirrored = steps - 1 - step if any(backwards) or any(out_backwards) else step
        inputs = [tf.gather(x, mirrored if back else step) for x, back in zip(scanned, backwards, strict=True)]
        results = run_graph(body, tensors, [*now, *inputs])
        rows = zip(made, results[len(states) :], out_backwards, strict=True)
        written = [array.write(mirrored if back else step, row) for array, row, back in rows]
        return step + 1, [_as(tf, new, old) for new, old in zip(results, now, strict=False)], written

    _, last, made = tf.while_loop(lambda step, *_: step < steps, once, [tf.constant(0), list(states), arrays])
    out_axes = list(node.attrs.get("scan_output_axes") or [0] * outs)
    stacked = [_placed(tf, array.stack(), axis) for array, axis in zip(made, out_axes, strict=True)]
    return [*last, *stacked]


def _as(tf: Any, new: Any, old: Any) -> Any:
    """A loop's variables must keep their static shape."""
    new = tf.convert_to_tensor(new)
    new.set_shape(old.shape)
    return new


def _first(tf: Any, x: Any, axis: int) -> Any:
    return x if axis == 0 else tf.transpose(x, [axis, *[a for a in range(len(x.shape)) if a != axis]])


def _placed(tf: Any, x: Any, axis: int) -> Any:
    """Move the first axis to `axis`."""
    rank = len(x.shape)
    axis %= rank
    return x if axis == 0 else tf.transpose(x, [*range(1, axis + 1), 0, *range(axis + 1, rank)])


def _shape(value: Any) -> list[int | None] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]


def _dtype(value: Any) -> Any:
    from onnx_tf.common import data_type

    return data_type.onnx2tf(value.type.tensor_type.elem_type)
