"""The record of `edgeconv bench`: one file in one runtime on one device. Plain data with a version and a JSON Schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeconv.errors import EdgeconvError
from edgeconv.harness.devices.record import Counted, DeviceNotes
from edgeconv.report.timing import Latency, Phases, Row

#: Rises when a field changes its meaning or goes away; new fields do not raise it.
SCHEMA_VERSION = 1


class EndRow(Row):
    """An input or output as the runtime sees it."""

    name: str
    shape: list[int] = Field(description="a dimension that the file leaves free is the user's array's, or 1")
    dtype: str
    low: float | None = Field(
        None, description="smallest value that it was fed; null: standard normal, or the user's own"
    )
    high: float | None = None
    source: str = Field("", description="who decided what it was fed: manifest, file, name, dtype or user")


class ConfinementRow(Row):
    """What the measuring process was allowed."""

    threads: int = Field(description="of the runtime")
    cpus: list[int] | None = Field(description="processors that it was pinned to; null: not pinned")
    niceness: int | None = Field(None, description="null: inherited")
    memory_mb: float | None = Field(None, description="of private memory beyond an empty interpreter; null: no limit")


class PartRow(Row):
    """A part of the peak."""

    what: str
    bytes: int


class Memory(Row):
    """Resident memory above an empty interpreter's, from a run of its own."""

    reason: str | None = Field(None, description="why it could not be measured; then all else is null")
    empty_bytes: int | None = Field(
        None, description="of interpreter, numpy and harness, on top of which all else counts"
    )
    phases: dict[str, int] | None = Field(None, description="resident after import, load, prepare, invoke")
    peak_bytes: int | None = None
    rows: list[PartRow] | None = Field(None, description="what the peak consists of; the rows add up to it")
    arena_bytes: int | None = Field(
        None, description="of the interpreter's tensors; null where the runtime does not tell"
    )
    weight_bytes: int | None = Field(None, description="of the constants in the file")


class OpRow(Row):
    """One op of the file, in its order."""

    op: str
    output: str = Field(description="name of its first output; onnxruntime: of the node")
    ms: float = Field(description="of all its kernels; 0 where it has none: fused, or done at load")
    weight_bytes: int
    delegate: str = Field(description="that took it; onnxruntime: the execution provider; empty: none")
    reason: str = Field(description="why no delegate took it")
    kernels: list[str] = Field(description="as the runtime calls them")


class Ops(Row):
    """Time by op, from a run of its own with the runtime's profiler on."""

    reason: str | None = Field(None, description="why it could not be measured; then all else is null")
    method: str | None = None
    runs: int | None = None
    sum_ms: float | None = Field(
        None,
        description="of all kernels, with the profiler on: less than an invoke where it costs little, since an invoke has other "
        "work too; more than p50_ms where it costs much, as in onnxruntime",
    )
    unattributed_ms: float | None = Field(None, description="of kernels that belong to no op of the file")
    partitions: int | None = Field(None, description="pieces of the graph that the delegate took")
    rows: list[OpRow] | None = None


class SizeRow(Row):
    """A part of the file."""

    name: str = Field(description="layer of a constant, type of an op, or what else it is")
    kind: str = Field(description="a dtype, ops or file")
    bytes: int


class BenchError(Row):
    """What ended a measurement."""

    error: str = Field(description="class name, see edgeconv.errors")
    message: str
    hint: str
    exit_code: int


class BenchRecord(Row):
    """One file in one runtime on one device."""

    schema_version: int = SCHEMA_VERSION
    file: str
    kind: Literal["tflite", "onnx", "ort", "saved-model"]
    bytes: int
    sha256: str = Field(
        description="of the file; of several files (a folder, external data), of the canonical JSON of their digests"
    )
    device: str = Field("host", description="as named by --device: host, arm:<cpu>, callgrind, adb or adb:<serial>")
    runtime: str
    runtime_version: str
    inputs: list[EndRow] = Field(default_factory=list)
    outputs: list[EndRow] = Field(default_factory=list)
    delegates: dict[str, int] | None = Field(
        None, description="pieces of the graph that each took; none: an empty object"
    )
    confinement: ConfinementRow | None = None
    phases: Phases | None = None
    latency: Latency | None = Field(None, description="null where time is not measured, as on an emulated processor")
    samples_file: str | None = Field(
        None,
        description="JSON with every timed invoke (see latency.conditions.kept_every) in ns, in order; null on a device, which "
        "tells none of them",
    )
    memory: Memory | None = Field(None, description="null where not asked for")
    ops: Ops | None = Field(None, description="null where not asked for")
    parts: list[SizeRow] | None = Field(None, description="what the file consists of; the rows add up to bytes")
    instructions_per_invoke: int | None = Field(None, description="exact count on arm or callgrind; see device")
    instructions_load: int | None = Field(None, description="the same for loading and preparing")
    instructions: Counted | None = Field(None, description="how they were counted, and whether they repeated")
    device_notes: DeviceNotes | None = Field(None, description="what else the device's harness tells")
    host: dict[str, Any] = Field(default_factory=dict)
    error: BenchError | None = None
    seconds: float = Field(description="wall time of all measurements of this record")


class BenchList(Row):
    """What `edgeconv bench` prints for several files or runtimes."""

    schema_version: int = SCHEMA_VERSION
    results: list[BenchRecord] = Field(description="one a file and runtime, in the order in which they were named")


def record(file: Any, device: str, host: dict[str, Any], seconds: float, found: dict[str, Any]) -> BenchRecord:
    """The record of what was found.

    Args:
        file: with path, kind, bytes and sha256, see `edgeconv.harness.files.ModelFile`.
        device: on which it ran.
        host: the machine.
        seconds: wall time.
        found: fields of the record as plain data; runtime and runtime_version at least.
    """
    about = {"file": str(file.path), "kind": file.kind, "bytes": file.bytes, "sha256": file.sha256}
    return BenchRecord(**about, device=device, host=host, seconds=round(seconds, 3), **found)


def failure(error: EdgeconvError) -> dict[str, Any]:
    """An error as a record holds it."""
    plain = error.to_json()
    return {"error": {key: plain[key] for key in ("error", "message", "hint")} | {"exit_code": error.exit_code}}


def bench_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **BenchRecord.model_json_schema()}


def bench_list_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of several records."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **BenchList.model_json_schema()}
