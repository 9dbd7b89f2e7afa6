"""The record of `edgeconv bench`: one file in one runtime on one device. Plain data with a version and a JSON Schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeconv.errors import EdgeconvError
from edgeconv.report.timing import Latency, Phases, Row

#: Rises when a field changes its meaning or goes away; new fields do not raise it.
SCHEMA_VERSION = 1


class EndRow(Row):
    """An input or output as the runtime sees it."""

    name: str
    shape: list[int] = Field(description="1 where the file leaves a dimension free")
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
    sha256: str = Field(description="of the file; of a folder, of the canonical JSON of its files' digests")
    device: str = Field("host", description="host, arm:<cpu> or adb:<serial>")
    runtime: str
    runtime_version: str
    inputs: list[EndRow] = Field(default_factory=list)
    outputs: list[EndRow] = Field(default_factory=list)
    confinement: ConfinementRow | None = None
    phases: Phases | None = None
    latency: Latency | None = Field(None, description="null where time is not measured, as on an emulated processor")
    samples_file: str | None = Field(None, description="JSON with every timed invoke in ns, in order")
    instructions_per_invoke: int | None = Field(None, description="exact count on an emulated processor; see device")
    instructions_load: int | None = Field(None, description="the same for loading and preparing")
    instructions: dict[str, Any] | None = Field(None, description="how they were counted, and whether they repeated")
    device_notes: dict[str, Any] | None = Field(None, description="what else the device's harness tells")
    host: dict[str, Any] = Field(default_factory=dict)
    error: BenchError | None = None
    seconds: float = Field(description="wall time of all measurements of this record")


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
