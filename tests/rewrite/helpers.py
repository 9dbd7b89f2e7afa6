"""Build small ONNX models, rewrite them, and run them before and after in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgeconv.rewrite.base import Pass, run

Array = np.ndarray[Any, Any]
IR_VERSION = 8  # what goes with opset 13 and every runtime takes


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, int] | Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int,
) -> onnx.ModelProto:
    """A model with inferred shapes; outputs without a type are float."""
    if not isinstance(outputs, Mapping):
        outputs = dict.fromkeys(outputs, TensorProto.FLOAT)
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)


def random_inputs(proto: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Normal floats, small signed integers, coin-flip booleans; a symbolic dimension becomes 2."""
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in proto.graph.initializer}
    feeds: dict[str, Array] = {}
    for value in proto.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value or 2 for dim in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype == np.bool_:
            feeds[value.name] = rng.random(shape) < 0.5
        elif dtype.kind in "iu":
            feeds[value.name] = rng.integers(0 if dtype.kind == "u" else -5, 6, shape).astype(dtype)
        else:
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
    return feeds


def infer(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs of onnxruntime without graph optimizations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: np.asarray(value) for name, value in feeds.items()}))


def rewritten(proto: onnx.ModelProto, *passes: Pass, opset: int = 13) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model after the passes, declared as `opset` and checked as such."""
    graph = ir.from_proto(proto)
    counts = run(graph, passes)
    graph.opset_imports[""] = opset
    graph.ir_version = IR_VERSION
    after = ir.to_proto(graph)
    onnx.checker.check_model(after, full_check=True)
    return after, counts


def op_types(proto: onnx.ModelProto) -> list[str]:
    """Op types of the main graph in order."""
    return [node.op_type for node in proto.graph.node]


def check(
    proto: onnx.ModelProto,
    *passes: Pass,
    feeds: Mapping[str, Array] | None = None,
    reference: Callable[..., Sequence[Array]] | None = None,
    changed: int = 1,
    tolerance: float = 1e-5,
    opset: int = 13,
) -> onnx.ModelProto:
    """Rewrite, compare with the model before (or with `reference`, for what onnxruntime lacks), return the result.

    `tolerance` is absolute and relative; 0 demands equality.
    """
    feeds = random_inputs(proto) if feeds is None else feeds
    before = infer(proto, feeds) if reference is None else reference(**feeds)
    after, counts = rewritten(proto, *passes, opset=opset)
    assert sum(counts.values()) == changed
    assert [value.name for value in after.graph.output] == [value.name for value in proto.graph.output]
    for want, got in zip(before, infer(after, feeds), strict=True):
        assert want.dtype == got.dtype
        assert want.shape == got.shape
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    return after
