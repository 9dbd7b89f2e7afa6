"""The record of `edgeconv trace`: a model's error by layer. Plain data with a version and a JSON Schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeconv.report.timing import Row

#: Rises when a field changes its meaning or goes away; new fields do not raise it.
SCHEMA_VERSION = 1


class TraceRow(Row):
    """One module of the original model, or node of its graph, beside its tensor in the `.tflite`."""

    module: str = Field(description="its path; of a graph: the node's name")
    kind: str = Field(description="its class, and those of the modules before it that it covers")
    covers: list[str] = Field(description="modules before it that the conversion folded into the same op")
    op: str = Field(description="the builtin")
    tensor: str = Field(description="that the op writes")
    weights: str = Field(description="dtype of the op's largest constant; empty without one")
    shape: list[int] = Field(description="in the original model's layout")
    snr_db: float = Field(description="of its value, with all errors before it")
    own_snr_db: float | None = Field(
        description="of what it computes from the .tflite's own inputs to it: the error that it adds; null where those are "
        "unknown or it computes nothing"
    )
    effect_db: float | None = Field(
        description="of the model's outputs if that error alone were there; null also where it is float rounding"
    )


class TraceRecord(Row):
    """Where the error of one `.tflite` comes from."""

    schema_version: int = SCHEMA_VERSION
    model: str
    target: str
    sha256: str = Field(description="of the .tflite")
    reference: Literal["torch", "onnxruntime"] = Field(description="what computed the original model's values")
    rows: list[TraceRow] = Field(description="the worst first, by effect_db")
    unmatched: list[str] = Field(description="modules without a tensor of their own")
    outputs: dict[str, float] = Field(description="SNR in dB by output of the model")
    tensors: int = Field(description="activations in the .tflite")
    samples: int = Field(description="random inputs over which errors were taken")


def trace_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TraceRecord.model_json_schema()}
