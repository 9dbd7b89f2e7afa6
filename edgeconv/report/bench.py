"""The record of `edgeconv bench`: one file in one runtime on one device. Plain data with a version and a JSON Schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeconv.errors import EdgeconvError

#: Rises when a field changes its meaning or goes away; new fields do not raise it.
SCHEMA_VERSION = 1


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EndRow(_Row):
    """An input or output as the runtime sees it."""

    name: str
    shape: list[int] = Field(description="1 where the file leaves a dimension free")
    dtype: str
    low: float | None = Field(
        None, description="smallest value that it was fed; null: standard normal, or the user's own"
    )
    high: float | None = None
    source: str = Field("", description="who decided what it was fed: manifest, file, name, dtype or user")


class ConfinementRow(_Row):
    """What the measuring process was allowed."""

    threads: int = Field(description="of the runtime")
    cpus: list[int] | None = Field(description="processors that it was pinned to; null: not pinned")
    niceness: int | None = Field(None, description="null: inherited")
    memory_mb: float | None = Field(None, description="of private memory beyond an empty interpreter; null: no limit")


class PhasesRow(_Row):
    """How long it took until the steady state, each phase apart."""

    process_start_ms: float | None = Field(
        description="from exec until the measuring code runs: interpreter, numpy, harness"
    )
    import_ms: float | None = Field(description="of the runtime's library")
    load_ms: float = Field(description="the file is read and its graph built")
    prepare_ms: float = Field(description="planned and allocated, delegates applied; 0 where loading does that too")
    first_invoke_ms: float = Field(description="inputs set, run, outputs read")
    warm_up_ms: float | None = Field(description="invokes until the times settled")


class ReasonRow(_Row):
    """One reason for which a measurement is not to be trusted."""

    kind: Literal["not settled", "drift", "bimodal", "host busy", "stolen CPU", "few samples"]
    text: str


class TrustRow(_Row):
    """Whether the times may be quoted."""

    trusted: bool
    reasons: list[ReasonRow]


class LatencyRow(_Row):
    """Steady state. A percentile that the number of samples does not support is null."""

    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mad_ms: float = Field(description="median absolute deviation from the median")
    ci_low_ms: float = Field(description="95 % interval of the median, block bootstrap")
    ci_high_ms: float
    runs: int
    warm_up_runs: int
    trust: TrustRow
    conditions: dict[str, Any] = Field(
        description="settled; waited, stolen: shares of the time that others and the hypervisor had; cpu_share: CPU by wall"
    )
    samples_file: str | None = Field(None, description="JSON with every sample in ns, in order")


class BenchError(_Row):
    """What ended a measurement."""

    error: str = Field(description="class name, see edgeconv.errors")
    message: str
    hint: str
    exit_code: int


class BenchRecord(_Row):
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
    phases: PhasesRow | None = None
    latency: LatencyRow | None = Field(None, description="null where time is not measured, as on an emulated processor")
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
