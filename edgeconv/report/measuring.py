"""Measures files and makes records of what was found; what `edgeconv bench` and `edgeconv compare` are made of."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeconv.errors import (
    DeviceMissing,
    DeviceRefused,
    EdgeconvError,
    InputMismatch,
    MeasurementError,
    MissingExtra,
    StageError,
    UsageError,
)
from edgeconv.harness import Options, devices, inputs, machine_of, measure, version_of
from edgeconv.harness import compare as steps
from edgeconv.harness.bench import job
from edgeconv.harness.compare import PairOptions, Side
from edgeconv.harness.devices import Order
from edgeconv.harness.files import ModelFile
from edgeconv.harness.runtimes import RUNTIMES
from edgeconv.report import bench as bench_record
from edgeconv.report.bench import BenchRecord
from edgeconv.report.compare import CompareRecord
from edgeconv.source import ModelSource
from edgeconv.store import files, os_error


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
        _keep(record, out, name, samples)
    return record


def bench_on(device: str, file: ModelFile, order: Order, out: Path | None = None) -> BenchRecord:
    """Measure one `.tflite` on another device than this machine; see `edgeconv.harness.devices`.

    What the artifact does there (crashes, hangs, does not load) is an error inside the record.

    Args:
        device: "arm:<processor>", "callgrind", "adb" or "adb:<serial>".
        file: see `edgeconv.harness.files.look`.
        order: what to measure.
        out: folder for the record, whose name holds the device; None: it is not written.

    Raises:
        StoreError, DiskFull: the folder cannot be written.
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
    record = bench_record.record(file, device, machine_of(), time.monotonic() - started, found)
    if out is not None:
        which = re.sub(r"[^\w.-]+", "-", device)
        _keep(record, out, f"{file.path.stem}-{file.sha256[:8]}.{order.runtime}.{which}")
    return record


def _keep(record: BenchRecord, out: Path, name: str, samples: list[int] | None = None) -> None:
    """Write a record as NAME.json, whole or not at all. A failed one is NAME.failed.json: it takes no good one's place."""
    good, failed = out / f"{name}.json", out / f"{name}.failed.json"
    with _writing(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
        if record.samples_file is not None:
            text = json.dumps({"unit": "ns", "samples": samples})  # on one line: nobody reads them
            files.replace(Path(record.samples_file), f"{text}\n".encode())
        text = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False)
        files.replace(failed if record.error else good, f"{text}\n".encode())
        if not record.error:
            failed.unlink(missing_ok=True)


def each(
    device: str, pairs: Sequence[tuple[ModelFile, str]], one: Callable[[ModelFile, str], BenchRecord]
) -> list[BenchRecord]:
    """Measure several files; what goes wrong with one is an error in its record, and the others' results stay.

    Args:
        device: on which, for the record of one that fails.
        pairs: files with their runtimes.
        one: measures a pair.

    Raises:
        EdgeconvError: of the only pair; DeviceMissing, DeviceRefused: nothing could be measured yet.
    """
    records: list[BenchRecord] = []
    for file, runtime in pairs:
        started = time.monotonic()
        try:
            records.append(one(file, runtime))
        except EdgeconvError as error:
            if len(pairs) == 1 or (not records and isinstance(error, (DeviceMissing, DeviceRefused))):
                raise
            found = {"runtime": runtime, "runtime_version": version_of(runtime), **bench_record.failure(error)}
            records.append(bench_record.record(file, device, machine_of(), time.monotonic() - started, found))
    return records


def check_inputs(pairs: Sequence[tuple[ModelFile, str]], options: Options) -> None:
    """Hold the user's arrays against every file before any is measured.

    Args:
        pairs: files with their runtimes.
        options: how they are measured, with the user's arrays.

    Raises:
        UsageError, InputMismatch: the arrays cannot be read, or do not fit a file.
        MissingExtra: a runtime is not installed.
    """
    _require(*(runtime for _, runtime in pairs))
    if options.inputs is None:
        return
    if not options.inputs.is_file():
        raise UsageError(f"there is no file {options.inputs}", hint="name a .npz or .npy file with --inputs")
    inputs.load_arrays(options.inputs)
    if len(pairs) == 1:  # its measurement begins with this
        return
    with tempfile.TemporaryDirectory(prefix="edgeconv-bench-") as folder:
        for file, runtime in pairs:
            base = {"runtime": runtime, "artifact": str(file.path.resolve())}
            payload = {**base, "confinement": options.confinement.to_json()}
            try:
                ends = job("sampling:describe", payload, options, Path(folder))["inputs"]
            except (StageError, MeasurementError):  # what is wrong with the file is told when it is measured
                continue
            try:
                inputs.read(options.inputs, ends)
            except (UsageError, InputMismatch) as error:
                error.stage = error.stage or file.path.name
                raise


def check_places(out: Path, page: Path | None) -> None:
    """Try to write where results go, so that no measurement is lost for want of a place.

    Args:
        out: folder of records; it is made.
        page: of the HTML page; its folder is made.

    Raises:
        UsageError: the page would be a folder, or the records' folder is a file.
        StoreError, DiskFull: the system refuses.
    """
    if page is not None:
        if page.is_dir():
            raise UsageError(f"{page} is a folder", hint="name a file with --html, such as page.html")
        with _writing(page, "--html"):
            page.parent.mkdir(parents=True, exist_ok=True)
            new = not page.exists()
            page.open("a").close()
            if new:
                page.unlink()
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, records need a folder", hint="name a folder with --out")
    with _writing(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()


def write_page(path: Path, records: Sequence[BenchRecord]) -> None:
    """Bench records as one self-contained HTML page. Raises StoreError, DiskFull."""
    from edgeconv.report.page import render

    with _writing(path, "--html"):
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
def _writing(path: Path, flag: str) -> Iterator[None]:
    """What the system refuses is an error of the place that was to be written."""
    try:
        yield
    except OSError as error:
        refused = os_error(error, path)
        refused.hint = f"check its permissions and free space, or choose another place with {flag}"
        raise refused from error


def _require(*runtimes: str) -> None:
    """Say in one sentence that a runtime is not installed, before any work."""
    missing = sorted({name for name in runtimes if find_spec(RUNTIMES[name].module.partition(".")[0]) is None})
    if missing:
        raise MissingExtra(
            f"measuring needs runtimes that are not installed: {', '.join(missing)}",
            hint="pip install 'edgeconv[convert]'",
        )
