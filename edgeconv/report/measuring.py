"""Measures files and makes records of what was found; what `edgeconv bench` and `edgeconv compare` are made of."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeconv.errors import DeviceMissing, DeviceRefused, MeasurementError, MissingExtra, StageError
from edgeconv.harness import Options, devices, machine_of, measure, version_of
from edgeconv.harness import compare as steps
from edgeconv.harness.compare import PairOptions, Side
from edgeconv.harness.devices import Order
from edgeconv.harness.files import ModelFile
from edgeconv.harness.runtimes import RUNTIMES
from edgeconv.report import bench as bench_record
from edgeconv.report.bench import BenchRecord
from edgeconv.report.compare import CompareRecord
from edgeconv.report.publish import write_json
from edgeconv.source import ModelSource
from edgeconv.store import os_error


def bench(
    file: ModelFile, runtime: str, options: Options, tell: Callable[[str], None], out: Path | None = None
) -> BenchRecord:
    """Measure one file in one runtime on this machine.

    What ends a measurement (the file crashes its runtime, hangs, does not load) is an error inside the record: other
    files can still be measured. What the user got wrong is raised.

    Args:
        file: see `edgeconv.harness.files.look`.
        runtime: one that takes it, see `edgeconv.harness.files.runtime_for`.
        options: how.
        tell: told what is being measured.
        out: folder for the record and, in a file beside it, every timed invoke; None: neither is written.

    Raises:
        StoreError, DiskFull: the folder cannot be written.
        UsageError, InputMismatch: the user's arrays do not fit.
        MissingExtra: the runtime is not installed.
    """
    _require(runtime)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeconv-bench-") as folder:
        try:
            found = measure(file, runtime, options, Path(folder), tell)
        except (StageError, MeasurementError) as error:
            found = {"runtime": runtime, "runtime_version": version_of(runtime), **bench_record.failure(error)}
    samples = found.pop("samples_ns", None)
    name = f"{file.path.stem}-{file.sha256[:8]}.{runtime}"
    if out is not None and samples is not None:
        found["samples_file"] = str(out / f"{name}.samples.json")
    record = bench_record.record(file, "host", machine_of(), time.monotonic() - started, found)
    if out is not None:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
            if record.samples_file is not None:
                text = json.dumps({"unit": "ns", "samples": samples})  # on one line: nobody reads them
                Path(record.samples_file).write_text(text + "\n", encoding="utf-8")
            write_json(out / f"{name}.json", record.model_dump(mode="json"))
    return record


def bench_on(device: str, file: ModelFile, order: Order) -> BenchRecord:
    """Measure one `.tflite` on another device than this machine; see `edgeconv.harness.devices`.

    What the artifact does there (crashes, hangs, does not load) is an error inside the record.

    Args:
        device: "arm:<processor>", "callgrind", "adb" or "adb:<serial>".
        file: see `edgeconv.harness.files.look`.
        order: what to measure.

    Raises:
        UsageError, InputMismatch: no such device, or what was asked does not fit it.
        DeviceMissing, DeviceRefused: the device cannot be used.
    """
    _require(order.runtime)
    started = time.monotonic()
    try:
        found = devices.measure(device, order).fields()
    except (DeviceMissing, DeviceRefused):
        raise
    except (StageError, MeasurementError) as error:
        found = {"runtime": order.runtime, "runtime_version": version_of(order.runtime), **bench_record.failure(error)}
    return bench_record.record(file, device, machine_of(), time.monotonic() - started, found)


def write_page(path: Path, records: Sequence[BenchRecord]) -> None:
    """Bench records as one self-contained HTML page. Raises StoreError, DiskFull."""
    from edgeconv.report.page import render

    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(records), encoding="utf-8")


def compare(
    sides: dict[str, Side],
    reference: Path | ModelSource | None,
    options: PairOptions,
    margin_db: float,
    tell: Callable[[str], None],
) -> CompareRecord:
    """Hold two files against each other: latency, size and fidelity, and one verdict over the three.

    Args:
        sides: the files with their runtimes, by "A" and "B".
        reference: what both should compute: the user's `.npz`, a model, or None.
        options: how they are timed.
        margin_db: differences in dB up to this count as none.
        tell: told how far it is.

    Raises:
        StageError, MeasurementError: what ended a measurement.
        SourceError: the reference model cannot be had.
    """
    _require(*(side.runtime for side in sides.values()))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeconv-compare-") as name:
        folder = Path(name)
        tell("size")
        size = steps.size(sides, options, folder)
        tell("fidelity")
        fidelity = steps.fidelity(sides, reference, margin_db, options, folder)
        latency = steps.latency(sides, options, folder, tell)
    runtimes = latency.pop("runtimes")
    verdict, summary = steps.overall(latency["verdict"], size["verdict"], fidelity["verdict"])
    return CompareRecord.model_validate(
        {
            "verdict": verdict,
            "summary": summary,
            **{key.lower(): _side(side, runtimes[key]["version"]) for key, side in sides.items()},
            "latency": latency,
            "size": size,
            "fidelity": fidelity,
            "host": machine_of(),
            "seconds": round(time.monotonic() - started, 3),
        }
    )


def _side(side: Side, version: str) -> dict[str, Any]:
    file = side.file
    about = {"file": str(file.path), "kind": file.kind, "bytes": file.bytes, "sha256": file.sha256}
    return {**about, "runtime": side.runtime, "runtime_version": version}


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the system refuses is an error of the place that was to be written."""
    try:
        yield
    except OSError as error:
        refused = os_error(error, Path(error.filename) if error.filename else path)
        refused.hint = "check its permissions and free space, or choose another place with --out"
        raise refused from error


def _require(*runtimes: str) -> None:
    """Say in one sentence that a runtime is not installed, before any work."""
    missing = sorted({name for name in runtimes if find_spec(RUNTIMES[name].module.partition(".")[0]) is None})
    if missing:
        raise MissingExtra(
            f"measuring needs runtimes that are not installed: {', '.join(missing)}",
            hint="pip install 'edgeconv[convert]'",
        )
