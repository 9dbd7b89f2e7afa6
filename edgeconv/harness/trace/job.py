"""Error by layer: each place of the original model beside its tensor in the .tflite. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.harness import metrics
from edgeconv.harness.jobs import FIRST_SEED
from edgeconv.harness.trace import match as matching
from edgeconv.harness.trace.match import Match, Upstream
from edgeconv.harness.trace.points import Array, Arrays, Fed, Point, Reference
from edgeconv.harness.trace.tflite_tensors import TfliteTensors
from edgeconv.source import InputSpec, ModelSource

#: How far back a place's input is computed from places that have a tensor, where it has none itself.
_DEPTH = 8

#: What a place adds at this SNR or above is float rounding: its effect on the outputs is not worth a run of the model.
ROUNDING_DB = 110.0


@dataclass
class Power:
    """Signal and noise, added up over samples."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, wanted: Array, found: Array) -> None:
        """One sample."""
        a, b = wanted.astype(np.float64).reshape(-1), found.astype(np.float64).reshape(-1)
        self.signal += float(np.dot(a, a))
        self.noise += float(np.dot(a - b, a - b))

    def snr_db(self) -> float:
        """As `metrics.snr_db`."""
        return metrics.snr_of(self.signal, self.noise)


@dataclass
class Row:
    """One place's figures; see `trace` for their meaning. `covers`: the places that were computed to get its own error."""

    output: Power = field(default_factory=Power)
    own: Power = field(default_factory=Power)
    effect: Power = field(default_factory=Power)
    samples_own: int = 0
    samples_effect: int = 0
    covers: list[int] = field(default_factory=list)


def trace(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job.

    Payload:
        source: the ModelSource. inputs: its specs. seeds: how many samples.
        onnx: path of an ONNX file to compare with, instead of the source's PyTorch modules; or None.
        artifact: the `.tflite`. layouts: of its inputs and outputs.

    Returns:
        rows: one a place that has a tensor, the worst first:
            module, kind: of the place. covers: modules before it that the conversion folded into the same op.
            op, tensor, weights: the builtin, its tensor's name, and the dtype of its largest constant.
            shape: in the original model's layout.
            snr_db: of its value in the .tflite, with all errors before it.
            own_snr_db: the same against what the place computes from the .tflite's own inputs to it, which leaves the
                error that it adds itself; None where those inputs are unknown or it computes nothing.
            effect_db: SNR of the model's outputs if that error alone were added; None also where it is float rounding.
        unmatched: places without a tensor. outputs: SNR by output. tensors: how many activations the file has.
        samples: how many.
    """
    specs = [InputSpec.from_json(spec) for spec in payload["inputs"]]
    reference = _reference(payload)
    opened = TfliteTensors(Path(payload["artifact"]), payload["layouts"])
    rows: dict[int, Row] = {}
    matches: dict[int, Match] = {}
    points: list[Point] = []
    whole: dict[str, Power] = {}
    known: dict[tuple[int, int], Upstream | None] = {}
    for seed in range(payload["seeds"]):
        generator = np.random.default_rng(FIRST_SEED + seed)
        inputs = {spec.name: spec.sample(generator) for spec in specs}
        points, wanted = reference.observe(inputs)
        values, found = opened.values(inputs)
        for name, array in wanted.items():
            if name in found:
                whole.setdefault(name, Power()).add(array, found[name])
        if not matches:
            matches = matching.match(points, opened.tensors, values)
            rows = {number: Row() for number in matches}
        sample = _Sample(reference, points, opened, matches, values, inputs, wanted, known)
        for number, row in rows.items():
            sample.add(number, row)
    plain = [_plain(points, number, matches[number], row) for number, row in sorted(rows.items())]
    return {
        "rows": sorted(plain, key=_rank),
        "unmatched": [points[number].name for number in matching.distinct(points) if number not in matches],
        "outputs": {name: power.snr_db() for name, power in whole.items()},
        "tensors": len(opened.tensors),
        "samples": payload["seeds"],
    }


def _reference(payload: dict[str, Any]) -> Reference:
    if payload["onnx"]:
        from edgeconv.harness.trace.onnx_reference import OnnxReference

        return OnnxReference(Path(payload["onnx"]))
    from edgeconv.harness.trace.torch_reference import TorchReference

    return TorchReference(ModelSource.from_json(payload["source"]))


@dataclass
class _Sample:
    """Both sides after one run on the same inputs; `known` holds what `match.upstream` found on an earlier one."""

    reference: Reference
    points: Sequence[Point]
    opened: TfliteTensors
    matches: Mapping[int, Match]
    values: Mapping[int, Array]
    inputs: Arrays
    wanted: Arrays
    known: dict[tuple[int, int], Upstream | None]

    def add(self, number: int, row: Row) -> None:
        """This sample's part of a place's figures."""
        point, match = self.points[number], self.matches[number]
        found = match.value(self.values, point.value)
        row.output.add(point.value, found)
        if not point.replayable or point.passes_on() is not None:
            return
        row.covers = []
        computed = self._replayed(number, number, row.covers, _DEPTH)
        if computed is None or not np.isfinite(computed).all():
            return
        row.own.add(computed, found)
        row.samples_own += 1
        if metrics.snr_db(computed, found) >= ROUNDING_DB:
            return
        disturbed = self.reference.disturbed(
            self.inputs, number, found.astype(np.float32) - computed.astype(np.float32)
        )
        row.samples_effect += 1
        for name, array in self.wanted.items():
            row.effect.add(array, disturbed[name])

    def _replayed(self, number: int, end: int, covers: list[int], depth: int) -> Array | None:
        """What a place computes from the .tflite's own values of its inputs.

        Args:
            number: of the place.
            end: of the one whose error is wanted.
            covers: gets the places that were computed on the way.
            depth: how many places back this may go.
        """
        point, passed = self.points[number], self.points[number].passes_on()
        fed = []
        for position, one in enumerate(point.fed):
            if passed not in (None, position):
                continue
            value = self._fed(number, position, one, end, covers, depth)
            if value is None:
                return None
            fed.append(value)
        if passed is not None:
            return fed[0]
        covers.append(number)
        return self.reference.replay(number, fed)

    def _fed(self, number: int, position: int, fed: Fed, end: int, covers: list[int], depth: int) -> Array | None:
        """The .tflite's own value of one input of a place."""
        if fed.is_input or fed.value.dtype.kind != "f":
            return fed.value
        if fed.producer is not None and fed.producer in self.matches:
            return self.matches[fed.producer].value(self.values, self.points[fed.producer].value)
        if fed.producer is not None and depth and self.points[fed.producer].replayable:
            return self._replayed(fed.producer, end, covers, depth - 1)
        if (number, position) not in self.known:
            match = self.matches[end]
            self.known[number, position] = matching.upstream(
                fed.value, match.tensor.position, self.opened.tensors, self.values, match.snr_db - 2 * matching.LEAST_DB
            )
        place = self.known[number, position]
        return place.value(self.values, fed.value) if place else None


def _rank(row: dict[str, Any]) -> tuple[float, float, float]:
    """What hurts the outputs most first; then what adds most to its own output; the rest in the model's order."""
    far = 2 * metrics.SNR_CEILING
    effect, own = row["effect_db"], row["own_snr_db"]
    return (far if effect is None else effect, far if own is None else own, 0.0)


def _plain(points: Sequence[Point], number: int, match: Match, row: Row) -> dict[str, Any]:
    point, known = points[number], row.samples_own > 0
    covers = row.covers or [number]
    return {
        "module": point.name,
        "kind": " + ".join(points[each].kind for each in covers),
        "covers": [points[each].name for each in covers[:-1]],
        "op": match.tensor.op,
        "tensor": match.tensor.name,
        "weights": match.tensor.weights,
        "shape": list(point.value.shape),
        "snr_db": row.output.snr_db(),
        "own_snr_db": row.own.snr_db() if known else None,
        "effect_db": row.effect.snr_db() if row.samples_effect else None,
    }
