"""Takes an ONNX graph through TensorFlow and the TFLite converter for its complaints alone. Runs in a worker.

`find` collects all of them; `shrink` looks for the smallest part of a graph that still brings one.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from edgeconv.rewrite.describe import TRACE, module_of, origins
from edgeconv.stages import witness

_REPLACE = "replace that operator in the model by others that compute the same"


def find(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job.

    Payload:
        onnx: path of a file as `obstacles.find` writes it. untaken: nodes whose complaint is known already.
        min_runtime: oldest TFLite runtime, such as "2.14.0"; None: any.

    Returns:
        obstacles, see `witness.grouped`.
    """
    import onnx
    import onnx_ir as ir

    from edgeconv.rewrite import onnx_tf
    from edgeconv.stages import onnx_tf_compat

    model = ir.load(payload["onnx"])
    traces = {node.name: node.metadata_props.get(TRACE, "") for node in model.graph}
    onnx_tf.prepare(model, channels_last_ends=True)
    proto = onnx.shape_inference.infer_shapes(ir.serde.serialize_model(model))
    known = set(payload["untaken"])
    found: list[dict[str, Any]] = []

    def note(kind: str, op: str, node: Any, reason: str) -> None:
        names = origins([node])
        if not known & {*names, node.name}:
            place = witness.place_in(traces.get(names[0], "") if names else "")
            found.append(
                witness.obstacle(kind, op, module_of(node), place, reason, _REPLACE, names[0] if names else node.name)
            )

    missing = {node.name for node in onnx_tf_compat.missing_ops(proto, 13)}

    def refused(node: Any, error: BaseException) -> None:
        if node.name in missing:
            note("handler", node.op_type, node, "there is no translation of this ONNX operator into TensorFlow")
        else:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            note("handler", node.op_type, node, f"it has no form in TensorFlow that TFLite takes: {lines[0][:200]}")

    function = onnx_tf_compat.concrete_function(proto, 13, refused)
    _convert(function, proto, note, payload["min_runtime"], found)
    return {"obstacles": witness.grouped(found)}


def _convert(function: Any, proto: Any, note: Any, min_runtime: str | None, found: list[dict[str, Any]]) -> None:
    """Hand the traced function to the TFLite converter; its complaints become obstacles."""
    import tensorflow as tf

    from edgeconv.stages import onnx_tf_compat, tflite

    try:
        data = _tflite(tf, function)
    except Exception as error:  # noqa: BLE001 - the converter raises many kinds; all are what is asked for
        nodes = {onnx_tf_compat.scope_of(node): node for node in proto.graph.node}
        complaints = tflite.not_builtin(str(error))
        for op, scopes in complaints.items():
            for scope in scopes:
                if scope in nodes:
                    note("builtin", op, nodes[scope], "TFLite has no builtin for this TensorFlow operator")
            if not any(scope in nodes for scope in scopes):
                found.append(witness.obstacle("builtin", op, "", "", "TFLite has no builtin for it", _REPLACE))
        if not complaints:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            found.append(witness.obstacle("builtin", "", "", "", f"the TFLite converter fails: {lines[0][:300]}"))
        return
    found.extend(_too_new(data, min_runtime))


def _tflite(tf: Any, function: Any) -> bytes:
    """Convert by way of a SavedModel, as the stages do: only then the converter's complaints quote name scopes."""
    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        module.serving = function
        tf.saved_model.save(module, folder, signatures={"serving_default": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        data: bytes = converter.convert()
    return data


def _too_new(data: bytes, min_runtime: str | None) -> list[dict[str, Any]]:
    """An obstacle if the file's own metadata asks for a newer runtime than the target allows."""
    from edgeconv.rewrite import flatbuffer

    if min_runtime is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rehearsal.tflite")
        path.write_bytes(data)
        model = flatbuffer.read(path)
    wanted = next((e for e in model.metadata or [] if e.name == b"min_runtime_version"), None)
    version = bytes(model.buffers[wanted.buffer].data).rstrip(b"\0").decode() if wanted is not None else ""
    if not version or _numbers(version) <= _numbers(min_runtime):
        return []
    ops = sorted({flatbuffer.op_name(model, op) for graph in model.subgraphs for op in graph.operators})
    reason = f"the file needs TFLite {version}, the target promises {min_runtime}; its ops are {', '.join(ops)}"
    return [
        witness.obstacle("runtime", "", "", "", reason, "raise min_runtime in the target's [tflite], or use fewer ops")
    ]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def shrink(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: write the smallest part of a graph that still fails.

    Payload:
        onnx: path of the `onnx` stage's file, or of one as `obstacles.find` writes it. nodes: names to start from; empty: all.
        destination: ONNX file to write. certain: the nodes are at fault by themselves, nothing needs to be tried.

    Returns:
        nodes (how many the part has), shown (whether it fails by itself).
    """
    import onnx

    from edgeconv.rewrite.cut import cut, neighbours

    model = onnx.load(payload["onnx"])
    # the graph may be no valid ONNX of this opset: that is what is to be shown
    with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    everything = [node.name for node in model.graph.node]
    wanted = [name for name in dict.fromkeys(payload["nodes"]) if name in everything][:1]
    while True:
        chosen = set(wanted) or set(everything)
        part = cut(model, chosen)
        shown = payload["certain"] or _fails(part)
        if shown or len(chosen) == len(everything):
            onnx.save(part, payload["destination"])
            return {"nodes": len(part.graph.node), "shown": shown}
        wanted = sorted(neighbours(model, chosen))


def _fails(part: Any) -> bool:
    """Whether a graph by itself does not become a .tflite."""
    import onnx_ir as ir
    import tensorflow as tf

    from edgeconv.rewrite import onnx_tf
    from edgeconv.stages import onnx_tf_compat

    try:
        model = ir.serde.deserialize_model(part)
        onnx_tf.prepare(model, channels_last_ends=True)
        function = onnx_tf_compat.concrete_function(ir.serde.serialize_model(model), 13)
        _tflite(tf, function)
    except Exception:  # noqa: BLE001 - that it raises is the answer
        return True
    return False
