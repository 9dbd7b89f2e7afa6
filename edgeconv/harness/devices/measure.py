"""`--device`: one artifact on one device, as a record. The one function that the command line calls is `measure`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeconv.errors import UsageError
from edgeconv.harness.bench import version_of
from edgeconv.harness.devices import adb, android, arm, callgrind, host
from edgeconv.harness.devices.record import DeviceRecord, Equality
from edgeconv.harness.files import look
from edgeconv.harness.runtimes import RUNTIMES
from edgeconv.worker import Worker

#: Bytes on a device besides the file and its runner: inputs and outputs.
_ROOM = 16_000_000

#: Time limit of one process where the user gives none.
SECONDS = 300.0
#: Times that limit for one that is emulated or counted, which takes a hundred times as long as this machine.
SLOWER = 6

_OWN = "drawn by benchmark_model"

IS = "instructions that one thread executes, counted; the same file, runtime and processor model give the same number"
IS_NOT = (
    "a time: how long an instruction takes depends on caches, memory and clock, and two files with equal counts can "
    "differ in speed"
)


@dataclass(frozen=True)
class Order:
    """What to measure.

    Attributes:
        artifact: a TFLite file, by its content.
        runtime: "litert" or "tflite-runtime".
        inputs: `.npz` by the file's own names and layout; None: drawn.
        repeats: processes to count in, or blocks to time.
        seconds: time limit of one process, as given; None: SECONDS, and SLOWER times that where it is emulated or counted.
        threads: of the runtime; counting takes one.
        min_runs, min_seconds: least number of timed invokes in a block and least time spent on them, for adb.
        runner: path of LiteRT's benchmark_model for the device, for adb.
        cooldown: seconds of pause between two blocks, for adb.
        tell: told what happens, a short phrase at a time.
    """

    artifact: Path
    runtime: str = "litert"
    inputs: Path | None = None
    repeats: int = 3
    seconds: float | None = None
    threads: int = 1
    min_runs: int = 50
    min_seconds: float = 1.0
    runner: Path | None = None
    cooldown: float = 10.0
    tell: Callable[[str], None] = lambda _: None

    def limit(self, times: int = 1) -> float:
        """Seconds that one process may take; `times` counts where the user gave no limit."""
        return SECONDS * times if self.seconds is None else self.seconds


def check(device: str, order: Order) -> None:
    """What can be known to be wrong before anything is measured.

    Raises:
        UsageError: no such kind of device, a file that it cannot run, or threads that it cannot count.
        BrokenModelFile: the file is not what its name promises.
        DeviceMissing: what emulates the device is not set up.
    """
    kind, _, rest = device.partition(":")
    if kind not in _KINDS:
        raise UsageError(
            f"there is no device {device!r}",
            hint="say arm:cortex-a76, arm:cortex-a53, callgrind, adb or adb:SERIAL",
        )
    file = look(order.artifact)
    if file.kind != "tflite":
        what = {"onnx": "an ONNX file", "ort": "an ORT file", "saved-model": "a SavedModel"}[file.kind]
        raise UsageError(
            f"{file.path} is {what}, --device {device} takes TFLite files only", hint="name a .tflite file"
        )
    if kind == "callgrind" and rest:
        raise UsageError(f"there is no device {device!r}", hint="say callgrind: it counts on this machine")
    if kind != "adb" and order.threads != 1:
        raise UsageError(f"--device {device} counts one thread, not {order.threads}", hint="say --threads 1")
    if kind == "arm":
        arm.cpu_of(rest)
        arm.find_setup()


def measure(device: str, order: Order) -> DeviceRecord:
    """Measure one artifact on the device that `--device` names.

    Args:
        device: "arm:<processor>", "callgrind", "adb" or "adb:<serial>".
        order: what.

    Raises:
        UsageError, BrokenModelFile: see `check`.
        DeviceMissing, DeviceRefused, MeasurementError: what stands in the way.
    """
    check(device, order)
    kind, _, rest = device.partition(":")
    with tempfile.TemporaryDirectory(prefix="edgeconv-device-") as folder:
        return _KINDS[kind](device, rest, order, Path(folder))


def on_host(order: Order, folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """Inputs as drawn or given, what the host computes from them, and what `host.outputs` tells of the file."""
    inputs, outputs = folder / "inputs.npz", folder / "host.npz"
    payload: dict[str, Any] = {
        "runtime": order.runtime,
        "artifact": str(order.artifact.resolve()),
        "inputs": str(order.inputs.resolve()) if order.inputs else None,
        "inputs_to": str(inputs),
        "outputs_to": str(outputs),
    }
    order.tell("the same inputs on the host")
    with Worker() as worker:
        told = worker.run(
            "edgeconv.harness.devices.host:outputs", payload, order.limit(), who="the runtime on the host"
        )
    return inputs, outputs, told


def _arm(device: str, name: str, order: Order, folder: Path) -> DeviceRecord:
    cpu, setup = arm.cpu_of(name), arm.find_setup()
    inputs, wanted, told = on_host(order, folder)
    order.tell(f"{order.repeats} processes on {name}, emulated")
    found = folder / "device.npz"
    instructions, hwcap = arm.measure(
        setup, name, order.runtime, order.artifact, inputs, found, repeats=order.repeats, seconds=order.limit(SLOWER)
    )
    warnings = []
    if instructions is None:
        order.tell("no plugin for qemu here: instructions by callgrind, on the host")
        instructions = callgrind.measure(
            order.runtime, order.artifact, inputs, folder, repeats=order.repeats, seconds=order.limit(SLOWER)
        )
        warnings = ["qemu cannot count here: the instructions are x86-64's, by callgrind on the host"]
    computed = f"{order.runtime} {version_of(order.runtime)}"
    equality = host.compare(wanted, found, computed, told["min_snr_db"])
    return DeviceRecord(
        device=device,
        kind="emulated",
        runtime=order.runtime,
        runtime_version=setup.facts["packages"][RUNTIMES[order.runtime].distributions[0]],
        inputs=told["inputs"],
        outputs=told["ends"]["outputs"],
        threads=1,
        equality=equality,
        instructions=instructions,
        facts={"qemu": setup.facts["qemu"], "cpu": name, "features": cpu.features.split(), "hwcap": hwcap},
        what_it_is=IS,
        what_it_is_not=IS_NOT,
        warnings=[*warnings, *_warnings(equality)],
    )


def _callgrind(device: str, _: str, order: Order, folder: Path) -> DeviceRecord:
    inputs, _host, told = on_host(order, folder)
    order.tell(f"{3 * order.repeats} processes under callgrind")
    instructions = callgrind.measure(
        order.runtime, order.artifact, inputs, folder, repeats=order.repeats, seconds=order.limit(SLOWER)
    )
    return DeviceRecord(
        device=device,
        kind="host",
        runtime=order.runtime,
        runtime_version=version_of(order.runtime),
        inputs=told["inputs"],
        outputs=told["ends"]["outputs"],
        threads=1,
        instructions=instructions,
        what_it_is=IS.replace("processor model", "kind of host"),
        what_it_is_not=f"a count of Arm instructions, nor {IS_NOT}",
    )


def _adb(device: str, serial: str, order: Order, folder: Path) -> DeviceRecord:
    phone = adb.connect(serial)
    facts = android.facts_of(phone)
    source, place, digest = android.runner_for(phone, order.runner, facts["product_cpu_abi"])
    needed = order.artifact.stat().st_size + (source.stat().st_size if source else 0) + _ROOM
    with adb.Folder(phone, needed) as there:
        order.tell(f"pushing {order.artifact.name} to {facts['product_model'] or phone.serial}")
        phone.push(order.artifact, there.file("model.tflite"))
        if source is not None:
            place = there.file("benchmark_model")
            phone.push(source, place)
            phone.shell(f"chmod 755 {place}")
        inputs, wanted, told = on_host(order, folder)
        runner = android.Phone(
            phone, there, place, digest, order.threads, order.limit(), order.min_runs, order.min_seconds
        )
        found = folder / "device.npz"
        feeds, missing = runner.outputs(inputs, told["ends"], folder, found)
        latency = android.blocks(runner, feeds, order.repeats, order.cooldown, order.tell)
    computed = f"{order.runtime} {version_of(order.runtime)}"
    equality = None if missing else host.compare(wanted, found, computed, told["min_snr_db"])
    warnings = [f"outputs were not compared: {missing}"] if missing else _warnings(equality) if equality else []
    if missing and order.inputs:
        warnings.append("the times are of inputs that benchmark_model draws itself, not of --inputs")
    if any(block.p50_is_mean for block in latency.blocks):
        warnings.append(
            "this benchmark_model prints no median: its means are told by block, and no latency of all blocks"
        )
    if facts["power_saving"]:
        warnings.append("the device saves power: times are longer than they need be")
    return DeviceRecord(
        device=device,
        kind="android",
        runtime="benchmark_model",
        runtime_version=f"sha256 {digest[:12]}",
        inputs=told["inputs"] if not missing else [{**end, "source": _OWN} for end in told["ends"]["inputs"]],
        outputs=told["ends"]["outputs"],
        threads=order.threads,
        equality=equality,
        latency=latency,
        facts={"serial": phone.serial, **facts},
        what_it_is="the time of an invoke in LiteRT's own benchmark_model on this device, the median of each block",
        what_it_is_not="what an app sees, which shares the processor with its own work and gets other cores from Android",
        warnings=warnings,
    )


def _warnings(equality: Equality) -> list[str]:
    return [
        f"the output {name!r} differs on the device: {row.snr_db:.1f} dB, largest error {row.max_abs_error:.3g}"
        for name, row in equality.outputs.items()
        if row.verdict == "differs"
    ]


_KINDS: dict[str, Callable[[str, str, Order, Path], DeviceRecord]] = {"adb": _adb, "arm": _arm, "callgrind": _callgrind}
