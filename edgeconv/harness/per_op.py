"""Time by op: the profiler's job for a runtime, and which of its kernels belongs to which op of a .tflite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeconv.errors import MeasurementError, StageError

#: The profiling job of a runtime.
_PROFILERS = {
    "litert": "profile:litert",
    "tflite-runtime": "profile:tflite_runtime",
    "onnxruntime": "profile:onnxruntime",
}

#: XNNPACK's names for what it makes of an op, where they differ by more than spaces and case.
_KERNELS = {
    "ADD": ("Add", "Binary Elementwise"),
    "AVERAGE_POOL_2D": ("Average Pooling", "Global Average Pooling"),
    "BATCH_MATMUL": ("Batch Matrix Multiply", "Fully Connected", "Dynamic Fully Connected"),
    "CONCATENATION": ("Concatenate", "Copy"),
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "DEQUANTIZE": ("Convert",),
    "DIV": ("Divide",),
    "EXPAND_DIMS": ("Static Reshape", "Static Expand Dims", "Copy"),
    "FULLY_CONNECTED": ("Fully Connected", "Dynamic Fully Connected", "Batch Matrix Multiply"),
    "LEAKY_RELU": ("Leaky ReLU",),
    "LOGISTIC": ("Sigmoid",),
    "MAX_POOL_2D": ("Max Pooling",),
    "MEAN": ("Mean", "Global Average Pooling"),
    "MUL": ("Multiply",),
    "PAD": ("Constant Pad",),
    "QUANTIZE": ("Convert",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "RELU_N1_TO_1": ("Clamp",),
    "RESHAPE": ("Static Reshape", "Copy"),
    "RESIZE_BILINEAR": ("Resize Bilinear", "Static Resize Bilinear"),
    "RSQRT": ("Reciprocal Square Root",),
    "SLICE": ("Static Slice",),
    "SPLIT": ("Even Split", "Split"),
    "STRIDED_SLICE": ("Static Slice", "Strided Slice"),
    "SUB": ("Subtract",),
    "SUM": ("Sum",),
    "TRANSPOSE_CONV": ("Deconvolution",),
}  # fmt: skip


def measure(
    about: dict[str, Any] | None, base: dict[str, Any], options: Any, folder: Path, job: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Time of each op of a file, or the reason why it is not known.

    Args:
        about: what `inspect` says of a `.tflite`; None for other kinds.
        base: payload of the measurement's jobs.
        options: how, see `bench.Options`.
        folder: scratch.
        job: runs a job in a process of its own.

    Returns:
        method, runs, sum_ms, unattributed_ms, partitions, rows (op, output, ms, weight_bytes, delegate, reason, kernels); or
        reason.
    """
    runtime = base["runtime"]
    if runtime not in _PROFILERS:
        return {"reason": f"{runtime} is not profiled"}
    if about is None and runtime != "onnxruntime":
        return {"reason": "the file could not be taken apart"}
    try:
        found = job(_PROFILERS[runtime], {**base, "folder": str(folder)}, options, folder)
    except (StageError, MeasurementError) as error:
        return {"reason": error.message}
    if about is None:
        rows = [
            {**{key: node[key] for key in ("op", "output", "weight_bytes", "delegate")}, "ms": node["us"] / 1e3, "reason": "",
             "kernels": []}
            for node in found["nodes"]
        ]  # fmt: skip
        lost, partitions = 0.0, None
    else:
        times, lost = attribute(about["ops"], found["events"])
        rows = [_row(op, own, about["other_reason"]) for op, own in zip(about["ops"], times, strict=True)]
        partitions = about["partitions"] if runtime == "litert" else None
    total = sum(row["ms"] for row in rows) + lost
    numbers = {"method": found["method"], "runs": found["runs"], "sum_ms": total, "unattributed_ms": lost}
    return {**numbers, "partitions": partitions, "rows": rows}


def _row(op: dict[str, Any], own: dict[str, Any], other_reason: str) -> dict[str, Any]:
    taken = op["delegated"] and own["delegated"]
    return {
        "op": op["op"],
        "output": op["output"]["name"] if op["output"] else "",
        "ms": own["ms"],
        "weight_bytes": op["weight_bytes"],
        "delegate": "XNNPACK" if taken else "",
        "reason": "" if taken else op["reason"] or other_reason,
        "kernels": own["kernels"],
    }


def attribute(ops: Sequence[dict[str, Any]], events: Sequence[Sequence[Any]]) -> tuple[list[dict[str, Any]], float]:
    """Time and kernels of each op.

    A kernel that the interpreter ran says which op it is. Inside a delegate, kernels and ops are two sequences in the same
    order, in which the delegate adds kernels (conversions, changes of layout) and leaves out ops (fused, or done when the
    file was loaded). They are paired by their kinds so that most are paired (longest common subsequence); a kernel that is
    left over helps the op whose kernel comes next.

    Args:
        ops: of the file, in order; op and delegated.
        events: tag, node, microseconds, in order.

    Returns:
        For each op: ms, kernels, delegated as the events show it; and the ms that belong to no op.
    """
    found: list[dict[str, Any]] = [{"ms": 0.0, "kernels": [], "delegated": True} for _ in ops]
    inside = []
    for tag, node, us in events:
        if node is None:
            inside.append((tag, us))
        elif node < len(ops):
            found[node]["delegated"] = False
            found[node]["ms"] += us / 1e3
            found[node]["kernels"].append(tag)
    taken = [number for number, op in enumerate(ops) if found[number]["delegated"] and op["delegated"]]
    pairs = _align([ops[number]["op"] for number in taken], [tag for tag, _ in inside])
    owner: int | None = None
    lost = 0.0
    for at in reversed(range(len(inside))):
        owner = taken[pairs[at]] if at in pairs else owner
        tag, us = inside[at]
        if owner is None:
            owner = taken[pairs[max(pairs)]] if pairs else None
        if owner is None:
            lost += us / 1e3
            continue
        found[owner]["ms"] += us / 1e3
        found[owner]["kernels"].insert(0, tag)
    return found, lost


def fits(op: str, tag: str) -> bool:
    """Whether a kernel with this tag can be what a delegate made of the op."""
    kernel = tag.partition(" (")[0]
    if op in _KERNELS:
        if op == "DEPTHWISE_CONV_2D" or "DWConv" in tag:
            return op in {"DEPTHWISE_CONV_2D", "CONV_2D"} and kernel == "Convolution"
        return kernel in _KERNELS[op]
    return _letters(op) in _letters(kernel) or _letters(kernel) in _letters(op)


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalpha())


def _align(ops: Sequence[str], tags: Sequence[str]) -> dict[int, int]:
    """Op's position by kernel's position, for the longest sequence of pairs that fit."""
    best = [[0] * (len(tags) + 1) for _ in range(len(ops) + 1)]
    fitting = {(op, tag): fits(op, tag) for op in set(ops) for tag in set(tags)}
    for row in reversed(range(len(ops))):
        for column in reversed(range(len(tags))):
            pair = best[row + 1][column + 1] + 1 if fitting[ops[row], tags[column]] else 0
            best[row][column] = max(pair, best[row + 1][column], best[row][column + 1])
    pairs: dict[int, int] = {}
    row = column = 0
    while row < len(ops) and column < len(tags):
        if fitting[ops[row], tags[column]] and best[row][column] == best[row + 1][column + 1] + 1:
            pairs[column] = row
            row, column = row + 1, column + 1
        elif best[row + 1][column] >= best[row][column + 1]:
            row += 1
        else:
            column += 1
    return pairs
