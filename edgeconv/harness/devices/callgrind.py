"""Instructions on this machine's own processor by valgrind's callgrind, where no emulated Arm machine can be had.

Callgrind counts whole processes; collecting only inside the runtime's own calls leaves the interpreter's start out, which
varies. Three processes give a count: none, two and four invokes; loading is the first, an invoke the slope of the others.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from edgeconv.errors import DeviceMissing, MeasurementError
from edgeconv.harness.devices import counts
from edgeconv.harness.devices.arm import RUNNER
from edgeconv.harness.devices.record import CountRun, Instructions, SymbolRow

#: Besides none: the invoke counts that the slope goes over.
INVOKES = (2, 4)

#: C++ methods behind the Python interpreter of both runtimes, none of which calls another.
_COLLECTED = ("CreateWrapperCPPFromFile", "AllocateTensors", "Invoke")


def measure(runtime: str, artifact: Path, inputs: Path, folder: Path, *, repeats: int, seconds: float) -> Instructions:
    """Count `repeats` times in fresh processes.

    Args:
        runtime: "litert" or "tflite-runtime".
        artifact: the `.tflite`.
        inputs: `.npz` of its inputs.
        folder: scratch.
        repeats: how often each of the three processes runs.
        seconds: time limit of one process.

    Raises:
        DeviceMissing: there is no valgrind.
        MeasurementError: the runtime fails under it.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None or shutil.which("setarch") is None:
        raise DeviceMissing(
            "there is no valgrind here", hint="install Debian's valgrind, or use --device arm:cortex-a76"
        )
    version = subprocess.run([valgrind, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    order = {"runtime": runtime, "artifact": str(artifact.resolve()), "inputs": str(inputs), "path": _packages()}
    found = []
    functions: Counter[tuple[str, str]] = Counter()
    for _ in range(repeats):
        totals = []
        for invokes in (0, *INVOKES):
            report = _run(valgrind, {**order, "invokes": invokes}, folder, seconds)
            total, functions_now = _read(report)
            totals.append(total)
            if invokes:
                functions = functions_now - functions if invokes == INVOKES[1] else functions_now
        times = INVOKES[1] - INVOKES[0]
        slope = (totals[2] - totals[1]) / times
        run = CountRun(
            per_invoke=slope, load=totals[0], first_invoke=round(totals[1] - totals[0] - slope * (INVOKES[0] - 1))
        )
        found.append(counts.Counted(run, {}))
    summary = counts.summarize(found, INVOKES, "callgrind", version, "x86-64 of this host, as valgrind shows it")
    return summary.model_copy(update={"by_symbol": _symbols(functions, times)})


def _packages() -> list[str]:
    """Where this environment's packages lie: the runner starts without site, whose work varies."""
    return [path for path in sys.path if path.endswith("site-packages")]


def _run(valgrind: str, order: dict[str, Any], folder: Path, seconds: float) -> Path:
    report, job = folder / "callgrind.out", folder / "job.json"
    job.write_text(json.dumps({**order, "result": str(folder / "result.json")}))
    toggles = [f"--toggle-collect=*InterpreterWrapper::{name}*" for name in _COLLECTED]
    command = [
        "setarch", "-R", valgrind, "--tool=callgrind", *toggles, "--dump-line=no", "--compress-pos=no",
        f"--callgrind-out-file={report}", sys.executable, "-S", "-s", "-P", str(RUNNER), str(job),
    ]  # fmt: skip
    environment = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PATH"] = "/usr/bin:/bin"
    try:
        done = subprocess.run(
            [part for part in command if part != "-P" or sys.version_info >= (3, 11)], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"the runtime gave no result under callgrind within {seconds:g} s", hint="raise --time-limit"
        ) from error
    if done.returncode or not report.is_file():
        lines = [line for line in done.stderr.splitlines() if line and not line.startswith("==")] or [""]
        raise MeasurementError(
            f"the runtime fails under callgrind (exit code {done.returncode}): {lines[-1][:300]}",
            detail=done.stderr[-4000:],
        )
    return report


def _read(report: Path) -> tuple[int, Counter[tuple[str, str]]]:
    """Total, and instructions by library and function without what they call.

    The format: https://valgrind.org/docs/manual/cl-format.html. Names are given once, then by number.
    """
    names: dict[tuple[str, str], str] = {}
    spent: Counter[tuple[str, str]] = Counter()
    place = {"ob": "", "fn": ""}
    total, inclusive = 0, False
    with report.open(errors="replace") as stream:
        for line in stream:
            named = re.match(r"c?(ob|fn)=\((\d+)\)(?: (.*))?$", line)
            if named:
                kind, number, name = named.groups()
                if name is not None:
                    names[kind, number] = name
                if line[0] != "c":
                    place[kind] = names[kind, number]
            elif line.startswith(("summary:", "totals:")):
                total = int(line.split()[1])
            elif line.startswith("calls="):
                inclusive = True  # the next line holds what the called function took
            elif line[:1].isdigit():
                if not inclusive:
                    spent[Path(place["ob"]).name, place["fn"]] += int(line.split()[1])
                inclusive = False
    if not total:
        raise MeasurementError("callgrind counted nothing: this build of the runtime has no symbols to collect by")
    return total, spent


def _symbols(functions: Counter[tuple[str, str]], times: int) -> list[SymbolRow]:
    total = sum(functions.values()) or 1
    return [
        SymbolRow(symbol=name, library=library, instructions=count // times, share=count / total)
        for (library, name), count in functions.most_common(counts.MOST_SYMBOLS)
    ]
