"""Makes onnx-tf 1.10, archived in 2022, run on today's TensorFlow and onnx, and drives its op handlers directly.

onnx-tf imports `onnx.mapping`, which onnx 1.15 removed, and two packages that do not import on current TensorFlow:
tensorflow_addons (used only by its Hardmax handler) and tensorflow_probability (only by Bernoulli). All three are put
in place before its first import.

Its own graph module is not used: it feeds weights through Python lists (28 bytes a float) and is traced through
AutoGraph, which takes seconds. `GraphModule` calls the same handlers with numpy arrays and no AutoGraph.
"""

from __future__ import annotations

import logging
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from edgeconv.errors import UnsupportedOp
from edgeconv.rewrite.describe import describe_nodes, origins

_registered: list[bool] = []


def install() -> None:
    """Put the missing modules in place; does nothing the second time."""
    if "onnx_tf" in sys.modules:
        return
    import onnx
    from onnx import helper

    if not hasattr(onnx, "mapping"):
        codes = [
            code
            for name, code in onnx.TensorProto.DataType.items()
            if name not in {"UNDEFINED"} and not name.startswith(("FLOAT8", "FLOAT4", "UINT4", "INT4", "UINT2", "INT2"))
        ]
        to_numpy = {code: helper.tensor_dtype_to_np_dtype(code) for code in codes}
        mapping = types.ModuleType("onnx.mapping")
        tables: dict[str, Any] = {
            "TENSOR_TYPE_TO_NP_TYPE": to_numpy,
            "NP_TYPE_TO_TENSOR_TYPE": {dtype: code for code, dtype in to_numpy.items()},
            "TENSOR_TYPE_TO_STORAGE_TENSOR_TYPE": {c: helper.tensor_dtype_to_storage_tensor_dtype(c) for c in codes},
        }
        for name, table in tables.items():
            setattr(mapping, name, table)
        for owner in (onnx, helper):
            owner.mapping = mapping  # type: ignore[attr-defined]
        sys.modules["onnx.mapping"] = mapping
    addons = types.ModuleType("tensorflow_addons")
    addons.seq2seq = types.SimpleNamespace(hardmax=_hardmax)  # type: ignore[attr-defined]
    sys.modules["tensorflow_addons"] = addons
    probability = types.ModuleType("tensorflow_probability")
    probability.distributions = types.SimpleNamespace()  # type: ignore[attr-defined]
    sys.modules["tensorflow_probability"] = probability


def _hardmax(logits: Any, name: str | None = None) -> Any:
    """One at the largest entry of the last axis, zero elsewhere: what tensorflow_addons.seq2seq.hardmax gives."""
    import tensorflow as tf

    return tf.one_hot(tf.argmax(logits, axis=-1), tf.shape(logits)[-1], dtype=logits.dtype, name=name)


def handlers(opset: int) -> dict[str, Any]:
    """Handler class by op type of the default domain, for graphs of `opset`."""
    install()
    from onnx.helper import make_opsetid
    from onnx_tf.common.handler_helper import get_all_backend_handlers

    from edgeconv.stages import onnx_tf_handlers

    logging.getLogger("onnx-tf").setLevel(logging.ERROR)
    if not _registered:
        onnx_tf_handlers.register()
        _registered.append(True)
    found: dict[str, Any] = get_all_backend_handlers({o.domain: o.version for o in [make_opsetid("", opset)]})[""]
    return found


def missing_ops(model: Any, opset: int) -> list[Any]:
    """Nodes of an `onnx.ModelProto` for which onnx-tf has no handler at `opset`, in graph order."""
    table = handlers(opset)
    return [
        node
        for node in model.graph.node
        if node.domain not in {"", "ai.onnx"}
        or node.op_type not in table
        or not hasattr(table[node.op_type], f"version_{table[node.op_type].SINCE_VERSION}")
    ]


def concrete_function(model: Any, opset: int, on_refusal: Callable[[Any, BaseException], None] | None = None) -> Any:
    """Trace an `onnx.ModelProto` of static or partly dynamic shape into a TensorFlow concrete function.

    The function takes the graph's inputs by keyword and returns a dict in the order of the graph's outputs.
    AutoGraph is tried only where a handler turns out to need it (Python control flow over tensors).

    Args:
        model: all types and shapes known as far as they can be.
        opset: of the model.
        on_refusal: told of each node that no handler takes; stand-ins of its outputs' shapes then take its place, so that
            the rest can be seen too. Without it the first such node is an error.

    Raises:
        UnsupportedOp: a handler refused its node; the message names it.
    """
    import tensorflow as tf

    table = {"": handlers(opset)}
    from onnx import numpy_helper
    from onnx_tf.backend import TensorflowBackend
    from onnx_tf.backend_tf_module import TFModuleHelper
    from onnx_tf.common import data_type
    from onnx_tf.pb_wrapper import OnnxNode

    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    shapes = {
        value.name: [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.output]
        if value.type.tensor_type.HasField("shape")
    }
    kinds = {
        value.name: data_type.onnx2tf(value.type.tensor_type.elem_type)
        for value in [*model.graph.value_info, *model.graph.output]
        if value.type.tensor_type.elem_type  # a sequence of tensors has none
    }
    variables = TFModuleHelper._create_handlers_variables_for_graph(table, model.graph, dict(weights))

    def forward(**inputs: Any) -> dict[str, Any]:
        tensors: dict[str, Any] = dict(inputs)
        tensors.update({name: tf.constant(value) for name, value in weights.items()})
        tensors.update(variables)
        for node in model.graph.node:
            wrapped = OnnxNode(node)
            try:
                with tf.name_scope(scope_of(node)):
                    results = TensorflowBackend._onnx_node_to_tensorflow_op(wrapped, tensors, table)
                for name, result in zip(wrapped.outputs, results, strict=False):
                    if name in shapes and isinstance(result, tf.Tensor):
                        result.set_shape(shapes[name])  # a handler that computes something else is found here
            except Exception as error:
                if on_refusal is None:
                    raise UnsupportedOp(
                        f"onnx-tf cannot take {describe_nodes([node])}: {_first_line(error)}",
                        hint="try another spelling of that layer in the model",
                        nodes=origins([node]),
                    ) from error
                on_refusal(node, error)
                results = [_stand_in(tf, inputs, kinds.get(name), shapes.get(name)) for name in wrapped.outputs]
            tensors.update(zip(wrapped.outputs, results, strict=False))
        return {value.name: tensors[value.name] for value in model.graph.output}

    signature = {
        value.name: tf.TensorSpec(
            [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim],
            data_type.onnx2tf(value.type.tensor_type.elem_type),
            value.name,
        )
        for value in model.graph.input
    }
    try:
        return tf.function(forward, autograph=False).get_concrete_function(**signature)
    except UnsupportedOp as error:
        if "graph execution" not in str(error.__cause__) and "symbolic" not in str(error.__cause__):
            raise
        try:
            return tf.function(forward, autograph=True).get_concrete_function(**signature)
        except Exception as again:  # AutoGraph wraps whatever is raised in a class of its own
            raise error from again


def _stand_in(tf: Any, inputs: dict[str, Any], kind: Any, shape: list[int | None] | None) -> Any:
    """A tensor of that type and shape, computed from the model's inputs so that nothing behind it is folded away."""
    seed = tf.reduce_max(tf.cast(tf.reshape(next(iter(inputs.values())), [-1]), tf.float32))
    return tf.cast(tf.broadcast_to(seed, [n or 1 for n in shape or []]), kind or tf.float32)


def scope_of(node: Any) -> str:
    """The TensorFlow name scope of everything that an `onnx.NodeProto` becomes; converters' errors quote it."""
    return "n_" + re.sub(r"[^A-Za-z0-9_]", "_", node.name or node.output[0])


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
