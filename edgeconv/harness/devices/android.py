"""An attached Android device: LiteRT's benchmark_model runs the file there, in blocks with pauses between them.

A phone has no runner of its own. `benchmark_model` is LiteRT's native binary for measuring; it comes from the user (`--runner`,
built or downloaded for the phone's ABI) or is found on the device, where earlier work left it. It prints what it measured.
"""

from __future__ import annotations

import re
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv import fingerprint
from edgeconv.errors import DeviceMissing, DeviceRefused, MeasurementError, UsageError
from edgeconv.harness.devices.adb import TEMPORARY, Adb, Folder, quoted
from edgeconv.harness.devices.record import Block, DeviceLatency, Doubt

#: Names under which benchmark_model is left on devices.
ON_DEVICE = tuple(
    f"{TEMPORARY}/{name}"
    for name in ("benchmark_model", "android_aarch64_benchmark_model", "android_arm_benchmark_model")
)
#: ELF machine numbers by Android ABI (elf.h).
_MACHINES = {"arm64-v8a": (183,), "armeabi-v7a": (40,), "x86_64": (62,), "x86": (3,)}

#: Blocks whose medians differ by more are not one measurement.
MOST_SPREAD = 1.10
#: A hot device is waited for at most this many times the pause.
_PATIENCE = 12
_PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.soc.model", "ro.product.cpu.abi", "ro.build.version.release",
    "ro.build.version.sdk",
)  # fmt: skip


@dataclass(frozen=True)
class Phone:
    """A device with its runner and the files on it.

    Attributes:
        adb: how to reach it.
        folder: of this measurement.
        runner: path on the device.
        digest: sha256 of the runner.
        threads: of the runtime.
        seconds: time limit of one command.
        min_runs, min_seconds: of a block; both are reached, unless half the time limit ends it before.
    """

    adb: Adb
    folder: Folder
    runner: str
    digest: str
    threads: int
    seconds: float
    min_runs: int = 50
    min_seconds: float = 1.0

    def time(self, feeds: Sequence[str]) -> str:
        """One block of timed invokes on inputs that are there (see `outputs`); what the runner printed."""
        longest = max(self.seconds / 2, self.min_seconds, 2)
        return self._run(
            f"--num_runs={self.min_runs}", f"--min_secs={self.min_seconds:g}", "--warmup_min_secs=0.5",
            f"--max_secs={longest:g}", *feeds,
        )  # fmt: skip

    def outputs(self, inputs: Path, ends: dict[str, Any], scratch: Path, target: Path) -> tuple[tuple[str, ...], str]:
        """Run once on given inputs and fetch the outputs.

        Args:
            inputs: `.npz` by input name.
            ends: inputs and outputs as the file has them.
            scratch: folder for raw files.
            target: `.npz` by output name to write.

        Returns:
            Flags that feed the same inputs to a timed run, and empty; or none, and why there are no outputs.
        """
        names = [end["name"] for end in ends["inputs"]]
        if any(set(name) & set(",:") for name in names):
            return (), "benchmark_model takes no input whose name holds a comma or a colon"
        with np.load(inputs) as arrays:
            for number, name in enumerate(names):
                raw = scratch / f"input{number}.raw"
                raw.write_bytes(np.ascontiguousarray(arrays[name]).tobytes())
                self.adb.push(raw, self.folder.file(raw.name))
        shapes = ":".join(",".join(str(size) for size in end["shape"]) for end in ends["inputs"])
        files = ",".join(f"{name}:{self.folder.file(f'input{number}.raw')}" for number, name in enumerate(names))
        feeds = (
            f"--input_layer={','.join(names)}", f"--input_layer_shape={shapes}", f"--input_layer_value_files={files}",
        )  # fmt: skip
        there = self.folder.file("outputs.raw")
        try:
            once = ("--num_runs=1", "--min_secs=0", "--warmup_runs=0", "--warmup_min_secs=0")
            self._run(*once, *feeds, f"--output_filepath={there}")
            self.adb.pull(there, scratch / "outputs.raw")
        except (DeviceMissing, DeviceRefused):
            raise
        except MeasurementError as error:
            return (), f"this benchmark_model writes no outputs ({error.message[:120]})"
        missing = _split((scratch / "outputs.raw").read_bytes(), ends["outputs"], target)
        return (() if missing else feeds), missing

    def _run(self, *flags: str) -> str:
        graph = f"--graph={self.folder.file('model.tflite')}"
        command = quoted(self.runner, graph, f"--num_threads={self.threads}", "--use_xnnpack=true", *flags)
        code, text = self.adb.shell(f"cd {self.folder.path} && {command}", self.seconds)
        if code:
            lines = [
                line for line in text.splitlines() if re.search("error|fail|cannot|not ", line, re.I)
            ] or text.splitlines()
            said = lines[-1].strip() if lines else "without a word"
            raise MeasurementError(
                f"benchmark_model fails on the device (exit code {code}): {said[:300]}",
                hint="check that the runner is LiteRT's benchmark_model and new enough for the file",
                detail=text[-4000:],
            )
        return text


def _split(raw: bytes, ends: list[dict[str, Any]], target: Path) -> str:
    """Outputs stand one behind the other in the file. Empty, or what does not fit."""
    sizes = [int(np.prod(end["shape"])) * np.dtype(end["dtype"]).itemsize for end in ends]
    if sum(sizes) != len(raw):
        return f"the outputs that benchmark_model wrote have {len(raw)} bytes, the file's have {sum(sizes)}"
    arrays, at = {}, 0
    for end, size in zip(ends, sizes, strict=True):
        arrays[end["name"]] = np.frombuffer(raw[at : at + size], end["dtype"]).reshape(end["shape"])
        at += size
    with target.open("wb") as stream:
        np.savez(stream, **arrays)
    return ""


def facts_of(adb: Adb) -> dict[str, Any]:
    """What the device says of itself: model, chip, Android, cores, battery."""
    _, text = adb.shell("; ".join(f"getprop {name}" for name in _PROPERTIES))
    values = dict(zip(_PROPERTIES, text.splitlines(), strict=False))
    facts: dict[str, Any] = {
        name.removeprefix("ro.").replace(".", "_"): value.strip() for name, value in values.items()
    }
    _, text = adb.shell("cat /proc/cpuinfo")
    facts["cpu_parts"] = re.findall(r"^CPU part\s*:\s*(\S+)", text, re.M)
    _, text = adb.shell("dumpsys battery")
    level, plugged = re.search(r"level: (\d+)", text), re.findall(r"(AC|USB|Wireless) powered: true", text)
    facts["battery"] = {"level": int(level[1]) if level else None, "powered_by": plugged}
    code, text = adb.shell("settings get global low_power")
    facts["power_saving"] = code == 0 and text.strip() == "1"
    return facts


def runner_for(adb: Adb, given: Path | None, abi: str) -> tuple[Path | None, str, str]:
    """The runner: the user's file, or one on the device.

    Args:
        adb: the device.
        given: the user's file.
        abi: the device's.

    Returns:
        The file to push (or None), its path on the device (or empty), its sha256.

    Raises:
        UsageError: the user's file is not there, or is of another processor.
        DeviceMissing: there is none.
    """
    if given is not None:
        if not given.is_file():
            raise UsageError(
                f"there is no runner {given}", hint="name LiteRT's benchmark_model for Android with --runner"
            )
        _check_machine(given, abi)
        return given, "", fingerprint.of_file(given)
    for place in ON_DEVICE:
        code, text = adb.shell(f"test -x {place} && sha256sum {place}")
        if code == 0:
            return None, place, (text.split() or [""])[0]
    raise DeviceMissing(
        f"there is no benchmark_model for the device {adb.serial}",
        hint=f"build or download LiteRT's benchmark_model for {abi or 'its ABI'} and name it with --runner (or {ON_DEVICE[0]})",
    )


def _check_machine(path: Path, abi: str) -> None:
    head = path.read_bytes()[:20]
    if head[:2] == b"#!":  # a script around the binary
        return
    if head[:4] != b"\x7fELF" or len(head) < 20:
        raise UsageError(
            f"{path} is no program for Android", hint="name LiteRT's benchmark_model for Android with --runner"
        )
    (machine,) = struct.unpack_from("<H", head, 18)
    if abi in _MACHINES and machine not in _MACHINES[abi]:
        raise UsageError(
            f"{path} is built for another processor than the device's ({abi})",
            hint=f"build or download the one for {abi}",
        )


def thermal_status(adb: Adb) -> int | None:
    """Android's thermal status, 0 (none) to 6 (shutdown); None before Android 10."""
    _, text = adb.shell("dumpsys thermalservice")
    found = re.search(r"Thermal Status:\s*(\d+)", text)
    return int(found[1]) if found else None


def blocks(
    phone: Phone, feeds: Sequence[str], repeats: int, cooldown: float, tell: Callable[[str], None]
) -> DeviceLatency:
    """Time the file in blocks, each after a pause and, on a hot device, after it has cooled.

    Args:
        phone: with the file on it.
        feeds: flags for its inputs, see `Phone.outputs`; without them the runner draws its own.
        repeats: how many blocks.
        cooldown: seconds of each pause.
        tell: told what happens.
    """
    found = []
    memory: float | None = None
    for number in range(repeats):
        tell(f"block {number + 1} of {repeats}, after a pause of {cooldown:g} s")
        waited, before = _cool(phone.adb, cooldown)
        text = phone.time(feeds)
        block = parse(text, before, thermal_status(phone.adb), waited)
        found.append(block)
        overall = re.search(r"\(MB\): init=\S+ overall=([\d.]+)", text)
        memory = float(overall[1]) if overall else memory
    medians = [block.p50_ms for block in found]
    spread = max(medians) / max(min(medians), 1e-9)
    doubts: list[Doubt] = []
    if any((block.thermal_after or 0) > 0 or (block.thermal_before or 0) > 0 for block in found):
        doubts.append(Doubt(kind="hot device", text="the device was hot: Android's thermal status rose above 0"))
    if spread > MOST_SPREAD:
        doubts.append(Doubt(kind="blocks differ", text=f"the blocks' medians lie up to {spread - 1:.0%} apart"))
    fewest = min(block.runs for block in found)
    if fewest < phone.min_runs:
        told = f"a block ended after {fewest} runs of {phone.min_runs}: raise --time-limit"
        doubts.append(Doubt(kind="cut short", text=told))
    if repeats == 1:
        doubts.append(Doubt(kind="few blocks", text="one block shows no spread"))
    return DeviceLatency(
        threads=phone.threads,
        runner=f"benchmark_model, sha256 {phone.digest[:12]}",
        p50_ms=statistics.median(medians),
        blocks=found,
        spread=spread,
        trusted=not doubts,
        reason="; ".join(doubt.text for doubt in doubts),
        doubts=doubts,
        memory_mb=memory,
    )


def _cool(adb: Adb, cooldown: float) -> tuple[float, int | None]:
    """Pause, and go on pausing while the device is hot. Returns seconds waited and the thermal status then."""
    start = time.monotonic()
    for _ in range(_PATIENCE):
        time.sleep(cooldown)
        status = thermal_status(adb)
        if not status or not cooldown:
            break
    return time.monotonic() - start, status


_COUNT = re.compile(r"\bcount=\d+ ")
_TIMINGS = re.compile(r"Init: (\S+), First inference: (\S+),")


def parse(text: str, before: int | None, after: int | None, waited: float) -> Block:
    """One block from what benchmark_model printed; microseconds there.

    Args:
        text: its output. Versions before TensorFlow 2.16 print no median: the mean stands for it then.
        before: thermal status.
        after: thermal status.
        waited: seconds of pause.

    Raises:
        MeasurementError: the lines are not there.
    """
    lines = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in text.splitlines() if _COUNT.search(line)]
    timings = _TIMINGS.search(text)
    if not lines or not {"min", "max", "avg"} <= set(lines[-1]) or not timings:
        raise MeasurementError(
            "benchmark_model printed no timings", hint="check that the runner is LiteRT's", detail=text[-4000:]
        )
    *warm_up, timed = lines
    ms = {
        name: float(timed[name]) / 1e3 for name in ("avg", "min", "max", "std", "p5", "median", "p95") if name in timed
    }
    return Block(
        p50_ms=ms.get("median", ms["avg"]),
        p50_is_mean="median" not in ms,
        mean_ms=ms["avg"],
        min_ms=ms["min"],
        max_ms=ms["max"],
        std_ms=ms.get("std"),
        p5_ms=ms.get("p5"),
        p95_ms=ms.get("p95"),
        runs=int(timed["count"]),
        warm_up_runs=sum(int(line["count"]) for line in warm_up),
        load_ms=float(timings[1]) / 1e3,
        first_ms=float(timings[2]) / 1e3,
        thermal_before=before,
        thermal_after=after,
        waited_s=round(waited, 2),
    )
