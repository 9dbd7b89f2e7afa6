"""The report: plain data with a version and a JSON Schema. What others rely on does not change within a version."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeconv.report.timing import Latency, Phases, Row

#: Rises when a field changes its meaning or goes away; new fields do not raise it.
SCHEMA_VERSION = 1


class ArtifactRow(Row):
    """The final artifact."""

    path: str = Field(description="where the file was written")
    bytes: int
    sha256: str


class StepRow(Row):
    """One stage of the chain."""

    name: str
    status: Literal["built", "cached"]
    reason: str = Field(description="why it was built, in words")
    reason_kind: str = Field(description="the same as one word for programs")
    seconds: float = Field(description="wall time of this run; 0 where cached")
    bytes: int = Field(description="size of the stage's artifact")
    sha256: str = Field(description="content digest; of the folder's manifest for a SavedModel")
    peak_bytes: int = Field(0, description="resident memory of the converter's process while building; 0 where cached")
    notes: dict[str, Any] = Field(default_factory=dict, description="what the stage tells of its work")


class ParityRow(Row):
    """Closeness of one stage's artifact to the reference, in one runtime, on inputs that no stage has seen."""

    stage: str
    runtime: str
    snr_db: float = Field(description="of the worst output; 200 where equal to the last bit")
    max_abs_error: float
    mean_abs_error: float
    cosine: float
    nan: int = Field(description="NaN where the reference has none")
    inf: int
    samples: int = Field(description="random inputs, each from its own seed")
    top1_agreement: float | None = Field(None, description="only where the first output is [N, classes]")
    outputs: dict[str, dict[str, Any]] = Field(default_factory=dict, description="the same by output")
    batches: dict[str, float] = Field(default_factory=dict, description="snr_db by size, where the batch is open")


class AccuracyRow(Row):
    """One metric of one stage on the labelled set, with its uncertainty."""

    stage: str = Field(description='"reference" is the original model')
    runtime: str
    metric: str = Field("top1", description="top1, top5, mean_iou, cosine_retrieval, or a user's pkg.mod:function")
    value: float = Field(description="a fraction of 1; of any size for a user's function")
    ci_low: float = Field(description="95 % interval")
    ci_high: float
    interval: Literal["wilson", "bootstrap"] = Field(description="how the interval was had")
    samples: int = Field(description="that count for the metric")
    drop: float | None = Field(None, description="the reference's value less this one's; null for the reference")
    drop_ci_low: float | None = Field(None, description="95 % interval, bootstrap paired by sample")
    drop_ci_high: float | None = None
    top1: float | None = Field(None, description="the value again where the metric is top1")


class LatencyRow(Latency):
    """Steady-state latency of the final artifact, in a process of its own, whose every sample is known."""

    mad_ms: float = Field(description="median absolute deviation from the median")
    ci_low_ms: float = Field(description="95 % interval of the median, block bootstrap")
    ci_high_ms: float
    stage: str
    runtime: str
    threads: int
    phases: Phases
    status: Literal["measured", "cached"]


class CheckRow(Row):
    """One number beside its budget."""

    check: str
    where: str = Field(description="stage or runtime")
    value: float
    budget: float
    unit: str
    ok: bool


class ErrorEntry(Row):
    """The stage at which most of the error enters."""

    stage: str
    snr_before_db: float
    snr_after_db: float


class Report(Row):
    """What a run did and what came of it."""

    schema_version: int = SCHEMA_VERSION
    model: str
    target: str
    verdict: Literal["accepted", "rejected", "unproven"] = Field(
        description="unproven: converted only, on the user's word; nothing was measured"
    )
    artifact: ArtifactRow
    steps: list[StepRow]
    reference: str = Field(description="what computed the reference outputs: torch, or onnxruntime for an ONNX source")
    parity: list[ParityRow]
    error_enters_at: ErrorEntry | None = Field(description="null where nothing was measured")
    accuracy: list[AccuracyRow]
    latency: list[LatencyRow]
    acceptance: list[CheckRow]
    contract: dict[str, list[dict[str, Any]]] = Field(description="inputs and outputs of the final artifact, in order")
    warnings: list[str]
    measurements: list[dict[str, Any]]
    host: dict[str, Any]
    seconds: float = Field(description="wall time of the whole run")

    @property
    def accepted(self) -> bool:
        """Whether every budget of the target is kept."""
        return self.verdict == "accepted"


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the report."""
    schema = Report.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
