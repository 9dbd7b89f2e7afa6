"""What a measurement on a device hands back: plain data, described field by field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OutputEquality(_Row):
    """One output on the device beside the host's, from the same inputs."""

    dtype: str
    verdict: Literal["equal", "close", "differs"] = Field(
        description='"equal": to the last bit; "close": floats within the tolerance; integers must be equal'
    )
    max_abs_error: float
    snr_db: float = Field(description="the host's output is the signal; 200 where equal")


class Equality(_Row):
    """Whether the device computes what the host does."""

    verdict: Literal["equal", "close", "differs"] = Field(description="of the worst output")
    min_snr_db: float = Field(description="floats at or above it are close")
    host_runtime: str = Field(description="name and version of what computed on the host")
    outputs: dict[str, OutputEquality]


class CountRun(_Row):
    """Instruction counts of one process."""

    per_invoke: float = Field(description="whole where invokes in the process repeat")
    first_invoke: int
    load: int


class SymbolRow(_Row):
    """A function of the runtime and the instructions of one invoke that it executed."""

    symbol: str = Field(description="demangled; the library alone where it has no symbol for the address")
    library: str
    instructions: int
    share: float = Field(description="of the invoke, as a fraction of 1")


class Counted(_Row):
    """How instructions were counted, and where they go: executed by one thread, not how long that takes."""

    counter: Literal["qemu-tcg-plugin", "callgrind"]
    counter_version: str
    counted_on: str = Field(description="instruction set and processor whose instructions are counted")
    instructions_first_invoke: int = Field(description="holds lazy set-up of the runtime")
    invoke_counts: list[int] = Field(description="the two counts that the slope goes over")
    runs: list[CountRun] = Field(description="one a process")
    repeats_exactly: bool = Field(description="all processes agree to the last digit")
    reason: str = Field(description="why they do not; empty where they do")
    by_kind: dict[str, int] = Field(default_factory=dict, description="of one invoke, by kind of instruction")
    by_symbol: list[SymbolRow] = Field(default_factory=list, description="of one invoke, the most first")


class Instructions(Counted):
    """The counts themselves."""

    instructions_per_invoke: int = Field(description="slope over two invoke counts in one process")
    instructions_load: int = Field(description="from the file's path to allocated tensors")


class Block(_Row):
    """One run of the runner on an attached device, between two pauses. It prints summaries, no single invokes."""

    p50_ms: float
    p50_is_mean: bool = Field(description="the runner prints no median: its mean stands for it")
    mean_ms: float
    min_ms: float
    max_ms: float
    std_ms: float | None = Field(None, description="standard deviation; this and the next two: null if not printed")
    p5_ms: float | None = None
    p95_ms: float | None = None
    runs: int
    warm_up_runs: int = Field(0, description="before them")
    load_ms: float
    first_ms: float
    thermal_before: int | None = Field(description="Android's thermal status, 0 none to 6 shutdown; None if not told")
    thermal_after: int | None
    waited_s: float = Field(description="pause before the block")


class Doubt(_Row):
    """A reason not to trust a latency."""

    kind: Literal["hot device", "blocks differ", "few blocks", "cut short"]
    text: str


class DeviceLatency(_Row):
    """Latency on an attached device."""

    threads: int
    runner: str
    p50_ms: float = Field(description="median of the blocks' medians")
    blocks: list[Block]
    spread: float = Field(description="largest block median over the smallest")
    trusted: bool
    reason: str = Field(description="why it is not trusted: heat, blocks that disagree; empty where it is")
    doubts: list[Doubt] = Field(default_factory=list, description="the same, each with its kind")
    memory_mb: float | None = Field(None, description="growth of the runner's resident memory, as it tells it itself")


class DeviceNotes(_Row):
    """What a device's measurement tells besides instruction counts."""

    kind: Literal["emulated", "host", "android"]
    threads: int
    equality: Equality | None = Field(None, description="null where outputs were not compared; a warning says why")
    latency: DeviceLatency | None = Field(None, description="of an attached device; never of an emulated one")
    facts: dict[str, Any] = Field(default_factory=dict, description="what the device says of itself")
    what_it_is: str = Field(description="what the number is")
    what_it_is_not: str = Field(description="and what it is not")
    warnings: list[str] = Field(default_factory=list)


class DeviceRecord(DeviceNotes):
    """One artifact on one device."""

    device: str = Field(description="as named by --device")
    runtime: str
    runtime_version: str
    inputs: list[dict[str, Any]] = Field(default_factory=list, description="rows as in a bench record")
    outputs: list[dict[str, Any]] = Field(default_factory=list, description="the same")
    instructions: Instructions | None = None

    def fields(self) -> dict[str, Any]:
        """As fields of a bench record: the counts where programs look for them, the rest in `device_notes`."""
        data = self.model_dump(mode="json")
        counted = data["instructions"] or {}
        counts = {name: counted.pop(name, None) for name in ("instructions_per_invoke", "instructions_load")}
        notes = {
            name: data[name]
            for name in data
            if name not in set(DeviceRecord.model_fields) - set(DeviceNotes.model_fields)
        }
        base = {name: data[name] for name in ("runtime", "runtime_version", "inputs", "outputs")}
        latency = _pooled(self.latency) if self.latency else None
        return {**base, **counts, "latency": latency, "instructions": counted or None, "device_notes": notes}


def _pooled(found: DeviceLatency) -> dict[str, Any] | None:
    """All blocks as a bench record's latency; what summaries do not support is None. None without medians."""
    blocks = found.blocks
    if any(block.p50_is_mean for block in blocks):
        return None
    runs = sum(block.runs for block in blocks)
    unknown = ("p90_ms", "p95_ms", "p99_ms", "mad_ms", "ci_low_ms", "ci_high_ms")
    return {
        "min_ms": min(block.min_ms for block in blocks),
        "mean_ms": sum(block.mean_ms * block.runs for block in blocks) / runs,
        "p50_ms": found.p50_ms,
        **dict.fromkeys(unknown),
        "runs": runs,
        "warm_up_runs": sum(block.warm_up_runs for block in blocks),
        "trust": {"trusted": found.trusted, "reasons": [doubt.model_dump() for doubt in found.doubts]},
        "conditions": {"blocks": len(blocks), "spread": found.spread},
    }
