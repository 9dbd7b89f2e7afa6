"""What a timed series looks like in every record: the run's report and the bench's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Row(BaseModel):
    """Anything in a record; an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Phases(Row):
    """How long it took until the steady state, each phase apart."""

    process_start_ms: float | None = Field(
        description="from exec until the measuring code runs: interpreter, numpy, harness"
    )
    import_ms: float | None = Field(description="of the runtime's library")
    load_ms: float = Field(description="the file is read and its graph built")
    prepare_ms: float = Field(description="planned and allocated, delegates applied; 0 where loading does that too")
    first_invoke_ms: float = Field(description="inputs set, run, outputs read")
    warm_up_ms: float | None = Field(description="invokes until the times settled")


class Reason(Row):
    """One reason for which a measurement is not to be trusted."""

    kind: Literal[
        "not settled", "drift", "bimodal", "host busy", "stolen CPU", "few samples",
        "hot device", "blocks differ", "few blocks", "cut short",
    ] = Field(description="the last four: of an attached device")  # fmt: skip
    text: str


class Trust(Row):
    """Whether the times may be quoted."""

    trusted: bool
    reasons: list[Reason]


class Latency(Row):
    """Steady state. A percentile that the number of samples does not support is null.

    An attached device tells summaries of blocks and no single invoke: there p50_ms is the median of the blocks' medians,
    and what summaries do not support is null.
    """

    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mad_ms: float | None = Field(description="median absolute deviation from the median")
    ci_low_ms: float | None = Field(description="95 % interval of the median, block bootstrap")
    ci_high_ms: float | None
    runs: int = Field(description="timed invokes")
    warm_up_runs: int
    trust: Trust
    conditions: dict[str, Any] = Field(
        description="settled; waited, stolen: shares of the time that others and the hypervisor had; cpu_share: CPU by wall; "
        "kept_every: 1, or more where more than 200,000 invokes were timed: one of so many, evenly spaced, was kept, and the "
        "numbers are theirs; "
        "of an attached device: blocks, and spread, the largest block median over the smallest"
    )
