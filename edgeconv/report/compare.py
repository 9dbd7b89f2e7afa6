"""The record of `edgeconv compare A B`: plain data with a version and a JSON Schema. Every ratio and change is B against A."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, TypeAdapter

from edgeconv.errors import EdgeconvError
from edgeconv.report.bench import BenchError, ConfinementRow, failure
from edgeconv.report.timing import Row

#: Rises when a field changes its meaning or goes away; new fields do not raise it.
SCHEMA_VERSION = 1


class Side(Row):
    """One of the two files."""

    file: str
    kind: Literal["tflite", "onnx", "ort", "saved-model"]
    bytes: int
    sha256: str
    runtime: str
    runtime_version: str


class Ratio(Row):
    """Of two times, with an exact interval from the sign test."""

    low: float
    median: float
    high: float
    error: float = Field(description="probability that the interval misses the true median")


class Block(Row):
    """One process's measurement of one file."""

    file: Literal["A", "B"]
    wall_ms: float = Field(description="median")
    cpu_ms: float = Field(description="median")
    mean_ms: float = Field(description="mean wall time; no verdict uses it")
    runs: int


class LatencyComparison(Row):
    """Which is faster, from interleaved blocks in fresh processes."""

    verdict: Literal["faster", "slower", "same", "inconclusive"]
    reason: str
    clock: Literal["wall", "cpu"] = Field(
        description="whose times decide: CPU time with one thread, wall time otherwise"
    )
    margin: float = Field(description="as a share; differences up to it count as none")
    rounds: int
    effect: Ratio | None = Field(description="B over A; null: too few rounds")
    effect_wall: Ratio | None = Field(description="the same of wall times")
    control: Ratio | None = Field(description="each file over itself, from the same blocks: 1 but for noise")
    p50_ms: dict[Literal["A", "B"], float] = Field(description="median wall time over the blocks of each")
    seed: int = Field(description="of the order's coin")
    confinement: ConfinementRow
    blocks: list[list[Block]] = Field(description="rounds of four, in the order in which they were run")


class Tensor(Row):
    """A constant as one of the files has it."""

    name: str
    dtype: str
    shape: list[int]
    bytes: int = Field(description="its data and its entries in the file")


class ConstantRow(Row):
    """A constant that is not the same in both."""

    layer: str = Field(description="path of the module that it belongs to, as far as names tell")
    role: str = Field(description="weights, bias, table or constant")
    what: str = Field(description="what happened to it, as the end of a sentence")
    a: Tensor | None
    b: Tensor | None
    change_bytes: int


class CountRow(Row):
    """A number of both files: of ops of a type, of bytes of a dtype, of bytes of the rest."""

    name: str
    a: int
    b: int
    change_bytes: int


class SizeComparison(Row):
    """Where the bytes went. constants, ops and rest add up to the change; dtypes are the constants seen otherwise."""

    verdict: Literal["smaller", "larger", "same"]
    margin: float = Field(description="as a share; for the verdict only")
    a_bytes: int
    b_bytes: int
    change_bytes: int
    found_bytes: int = Field(description="all rows added up")
    constants: list[ConstantRow]
    unchanged: int = Field(description="constants that are equal to the last bit")
    renamed: int = Field(description="those of them that have another name")
    ops: list[CountRow]
    dtypes: list[CountRow]
    rest: list[CountRow]


class FidelityComparison(Row):
    """How close both are to the reference; the numbers are those of a report's parity."""

    verdict: Literal["closer", "farther", "same", "unknown"]
    reference: str = Field(description="what both are held against; A where no reference was named")
    margin_db: float
    a: dict[str, Any] | None = Field(description="null where A is the reference")
    b: dict[str, Any] | None
    reason: str | None = Field(None, description="why not even B could be held against A, or which gives NaN or Inf")


class CompareRecord(Row):
    """Two files against each other."""

    schema_version: int = SCHEMA_VERSION
    verdict: Literal["better", "worse", "mixed", "same", "inconclusive"] = Field(
        description="B against A, over all three"
    )
    summary: str
    a: Side
    b: Side
    latency: LatencyComparison
    size: SizeComparison
    fidelity: FidelityComparison
    host: dict[str, Any]
    seconds: float


class CompareFailure(Row):
    """What is printed instead where the comparison did not come to its end."""

    schema_version: int = SCHEMA_VERSION
    a: str = Field(description="the file, as it was named")
    b: str
    where: str = Field(description="which of the two, in which runtime; empty: neither, or not known")
    error: BenchError


def failed(a: str, b: str, error: EdgeconvError) -> CompareFailure:
    """The record of an error that ended the comparison of two files, given as they were named."""
    return CompareFailure(a=a, b=b, where=error.stage, **failure(error))


def compare_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the record, or of the failure."""
    either: TypeAdapter[Any] = TypeAdapter(CompareRecord | CompareFailure)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **either.json_schema()}
