"""Takes a .tflite apart: ops, what the XNNPACK delegate of LiteRT took and why not, bytes by op and tensor, versions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgeconv.errors import MeasurementError

#: Why XNNPACK leaves an op to the interpreter, for those that are met most.
_REASONS = {
    "PADV2": "XNNPACK pads with zeros only",
    "CONCATENATION": "XNNPACK joins at most five tensors",
    "GATHER": "XNNPACK has no gather",
    "DEPTHWISE_CONV_2D": "XNNPACK has no depthwise kernel for int8 weights with float activations",
    "MIRROR_PAD": "XNNPACK pads with zeros only",
    "EMBEDDING_LOOKUP": "XNNPACK has no gather",
}
_OTHER = "XNNPACK has no kernel for this op with these types and shapes"


def inspect(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job.

    Payload:
        artifact: path of a `.tflite`.

    Returns:
        bytes, inputs, outputs, ops (one row each: op, version, delegated, reason, weight_bytes, output), op_counts,
        tensors (constants by size: name, dtype, shape, bytes), dtype_bytes, op_versions, min_runtime, partitions,
        other_reason (why another version of the delegate may leave an op that this one takes).

    Raises:
        MeasurementError: LiteRT does not load the file.
    """
    from edgeconv.rewrite import flatbuffer

    path = Path(payload["artifact"])
    model = flatbuffer.read(path)
    graph = model.subgraphs[0]
    delegated, partitions = _delegated(path)
    rows = []
    for number, op in enumerate(graph.operators):
        name = flatbuffer.op_name(model, op)
        constants = [_constant(model, graph, int(index)) for index in op.inputs if index >= 0]
        taken = number in delegated
        rows.append(
            {
                "op": name,
                "version": int(model.operatorCodes[op.opcodeIndex].version),
                "delegated": taken,
                "reason": "" if taken else _REASONS.get(name, _OTHER),
                "weight_bytes": sum(entry["bytes"] for entry in constants if entry),
                "output": _end(graph, int(op.outputs[0])) if len(op.outputs) else None,
            }
        )
    tensors = [entry for index in range(len(graph.tensors)) if (entry := _constant(model, graph, index))]
    dtypes: Counter[str] = Counter()
    for entry in tensors:
        dtypes[entry["dtype"]] += entry["bytes"]
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "inputs": [_end(graph, int(index)) for index in graph.inputs],
        "outputs": [_end(graph, int(index)) for index in graph.outputs],
        "ops": rows,
        "op_counts": dict(Counter(row["op"] for row in rows).most_common()),
        "op_versions": {row["op"]: row["version"] for row in sorted(rows, key=lambda row: (row["op"], row["version"]))},
        "tensors": sorted(tensors, key=lambda entry: -entry["bytes"]),
        "dtype_bytes": dict(dtypes.most_common()),
        "min_runtime": _min_runtime(model),
        "partitions": partitions,
        "other_reason": _OTHER,
    }


def _end(graph: Any, index: int) -> dict[str, Any]:
    """Name, dtype and shape of a tensor."""
    from edgeconv.rewrite import flatbuffer

    tensor = graph.tensors[index]
    shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
    return {"name": (tensor.name or b"").decode(), "dtype": flatbuffer.type_name(tensor.type), "shape": shape}


def _constant(model: Any, graph: Any, index: int) -> dict[str, Any] | None:
    """The same with bytes and the number of scales, for a tensor that the file holds; None for a computed one."""
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return None
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    return {**_end(graph, index), "bytes": len(data), "scales": 0 if scales is None else len(scales)}


def _min_runtime(model: Any) -> str | None:
    """What the converter wrote into the file's metadata."""
    for entry in model.metadata or []:
        if entry.name == b"min_runtime_version":
            return bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
    return None


def _delegated(path: Path) -> tuple[set[int], int]:
    """Numbers of the ops inside a delegate, and how many delegate partitions there are.

    The interpreter lists delegate nodes with their inputs and outputs: what lies between them has been taken.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [""]
        raise MeasurementError(f"LiteRT does not load {path.name}: {lines[0][:300]}") from error
    nodes = interpreter._get_ops_details()
    partitions = [node for node in nodes if node["op_name"] == "DELEGATE"]
    ops = [node for node in nodes if node["op_name"] != "DELEGATE"]
    maker = {int(out): number for number, node in enumerate(ops) for out in node["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        ends = {int(index) for index in partition["inputs"]}
        frontier = [int(index) for index in partition["outputs"]]
        while frontier:
            tensor = frontier.pop()
            number = maker.get(tensor)
            if number is None or number in taken or tensor in ends:
                continue
            taken.add(number)
            frontier += [int(index) for index in ops[number]["inputs"] if index >= 0]
    return taken, len(partitions)
