"""An Arm processor without a device: the aarch64 build of a runtime under qemu-user, its instructions counted.

`scripts/setup_arm` puts everything into one folder (see `Setup`). Each run gets a small root of its own in which the
guest sees fixed paths and the processor's own /proc/cpuinfo and /sys: runtimes read those to choose their kernels, and
on an x86-64 host's they choose wrong ones or crash (LiteRT 2.2 and later read cache sizes that are not there).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeconv import fingerprint
from edgeconv.errors import DeviceMissing, MeasurementError, UsageError
from edgeconv.harness.devices import counts
from edgeconv.harness.devices.record import Instructions
from edgeconv.paths import arm_dir

_HERE = Path(__file__).parent
PLUGIN_SOURCE = _HERE / "count_instructions.c"
RUNNER = _HERE / "arm_runner.py"
SCRIPT = "scripts/setup_arm"

#: Rises when the set-up folder's layout changes; an older folder must be set up again.
SETUP_VERSION = 1
#: The Python that Debian 12 has for arm64.
GUEST_PYTHON = "3.11"

#: Why tflite-runtime's counts differ: of its functions only these vary from process to process (by 147 instructions a
#: time on cortex-a76), all below ruy::TuningResolver::ResolveNow, which runs once a quarter of a second has passed.
RUY = "ruy, which multiplies int8 in this runtime, asks what processor it is on whenever its clock says so"

#: The two invoke counts whose difference gives the count of one.
INVOKES = (1, 3)


@dataclass(frozen=True)
class Cpu:
    """A processor as the guest sees it.

    Attributes:
        midr: main id register, as qemu sets it for this model; runtimes choose kernels by it.
        features: what Linux would print of it in /proc/cpuinfo.
        l1_kb, l2_kb: cache sizes of common phones' cores; runtimes size their tiles by them.
        max_khz: only so that runtimes that ask get an answer.
    """

    midr: int
    features: str
    l1_kb: int
    l2_kb: int
    max_khz: int

    def cpuinfo(self) -> str:
        """Linux's /proc/cpuinfo of one such core."""
        return (
            "processor\t: 0\nBogoMIPS\t: 48.00\n"
            f"Features\t: {self.features}\n"
            f"CPU implementer\t: {self.midr >> 24 & 0xFF:#x}\nCPU architecture: 8\n"
            f"CPU variant\t: {self.midr >> 20 & 0xF:#x}\nCPU part\t: {self.midr >> 4 & 0xFFF:#x}\n"
            f"CPU revision\t: {self.midr & 0xF}\n\n"
        )

    def sysfs(self) -> dict[str, str]:
        """Files below /sys/devices/system/cpu for one such core."""
        files = {"kernel_max": "0", "possible": "0", "present": "0", "online": "0"}
        files |= {f"cpu0/topology/{name}": "0" for name in ("physical_package_id", "core_id")}
        files |= {
            f"cpu0/topology/{name}": "0"
            for name in ("core_siblings_list", "package_cpus_list", "cluster_cpus_list", "thread_siblings_list")
        }
        files |= {"cpu0/cpufreq/cpuinfo_max_freq": str(self.max_khz), "cpu0/cpufreq/cpuinfo_min_freq": "300000"}
        caches = [("1", "Data", self.l1_kb), ("1", "Instruction", self.l1_kb), ("2", "Unified", self.l2_kb)]
        for index, (level, kind, kilobytes) in enumerate(caches):
            place = f"cpu0/cache/index{index}"
            files |= {f"{place}/level": level, f"{place}/type": kind, f"{place}/size": f"{kilobytes}K"}
            files |= {f"{place}/shared_cpu_list": "0", f"{place}/coherency_line_size": "64"}
        return files


_V8 = "fp asimd aes pmull sha1 sha2 crc32 cpuid"
#: By the name that qemu and `--device arm:` use. MIDR: target/arm/cpu64.c of qemu 7.2. Caches: Arm's reference manuals
#: of the cores give ranges, these are the sizes that phones have most.
CPUS = {
    "cortex-a53": Cpu(0x410FD034, _V8, 32, 512, 1_800_000),
    "cortex-a72": Cpu(0x410FD083, _V8, 32, 1024, 2_000_000),
    "cortex-a76": Cpu(0x414FD0B1, f"{_V8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp", 64, 512, 2_400_000),
}


@dataclass(frozen=True)
class Setup:
    """The folder that `scripts/setup_arm` made.

    Attributes:
        folder: host/ (qemu and its libraries), guest/ (arm64 Python), python/NAME/ (aarch64 wheels), symbols/.
        facts: what it holds: "qemu", "plugin" (whether counting works here), "packages" (version by distribution).
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def plugin(self) -> Path:
        """The compiled plugin."""
        return self.folder / "count_instructions.so"

    def qemu(self) -> list[str]:
        """Command line of qemu, without address randomization, in the libraries that came with it."""
        host = self.folder / "host"
        libraries = ":".join(str(host / path) for path in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"))
        loader = str(host / "lib64" / "ld-linux-x86-64.so.2")
        return ["setarch", "-R", loader, "--library-path", libraries, str(host / "usr" / "bin" / "qemu-aarch64")]


def find_setup() -> Setup:
    """The set-up, complete and of this edgeconv. Raises DeviceMissing, which names the script."""
    folder = arm_dir()
    hint = f"run {SCRIPT} once (Debian 12 on x86-64; it needs no root), or use --device callgrind"
    try:
        facts = json.loads((folder / "setup.json").read_text())
    except FileNotFoundError:
        raise DeviceMissing(
            f"the emulated Arm machine is not set up: there is no {folder}/setup.json", hint=hint
        ) from None
    except ValueError as error:
        raise DeviceMissing(f"{folder}/setup.json is damaged", hint=hint) from error
    if facts.get("version") != SETUP_VERSION or facts.get("plugin_source") != fingerprint.of_file(PLUGIN_SOURCE):
        raise DeviceMissing(f"the emulated Arm machine in {folder} is of another edgeconv", hint=f"run {SCRIPT} again")
    return Setup(folder, facts)


def cpu_of(name: str) -> Cpu:
    """The processor called `name`. Raises UsageError."""
    if name not in CPUS:
        raise UsageError(f"there is no Arm processor {name!r} to emulate", hint=f"there are: {', '.join(CPUS)}")
    return CPUS[name]


@dataclass(frozen=True)
class Ran:
    """What a guest process left.

    Attributes:
        outputs: `.npz` by output name.
        marks: what the plugin wrote; empty without counting.
        hwcap: AT_HWCAP as the guest had it.
        maps: the guest's memory map, if it was asked to profile.
    """

    outputs: Path
    marks: str
    hwcap: int
    maps: str


def run(
    setup: Setup, cpu: str, runtime: str, artifact: Path, inputs: Path, into: Path, *, profile: bool, seconds: float
) -> Ran:
    """One process in the guest: load, invoke, mark.

    Args:
        setup: where things are.
        cpu: name of the processor.
        runtime: "litert" or "tflite-runtime".
        artifact: the `.tflite`.
        inputs: `.npz` of its inputs by tensor name, in the file's own layout.
        into: an empty folder for this run.
        profile: count by block too.
        seconds: time limit.

    Raises:
        MeasurementError: the guest failed, crashed, or ran out of time.
    """
    root = into / "root"
    job = lay_root(setup, cpu_of(cpu), root)
    shutil.copyfile(artifact, job / "model.tflite")
    shutil.copyfile(inputs, job / "inputs.npz")
    shutil.copyfile(RUNNER, job / "runner.py")
    for name in ("outputs.npz", "result.json"):
        (job / name).touch()  # qemu looks below the root for files that exist; new ones would go to the host's /job
    order = {
        "runtime": runtime,
        "artifact": "/job/model.tflite",
        "inputs": "/job/inputs.npz",
        "outputs": "/job/outputs.npz",
        "result": "/job/result.json",
        "path": ["/opt/python/numpy", f"/opt/python/{runtime}"],
        "counts": INVOKES,
        "profile": profile,
    }
    (job / "job.json").write_text(json.dumps(order))
    marks = into / "marks"
    count = ["-plugin", f"file={setup.plugin},out={marks}"] if setup.facts["plugin"] else []
    python = f"/usr/bin/python{GUEST_PYTHON}"
    command = [
        *setup.qemu(), "-0", python, "-cpu", cpu, *count, "-L", str(root), f"{root}{python}",
        "-S", "-s", "-P", "/job/runner.py", "/job/job.json",
    ]  # fmt: skip
    _execute(command, cpu, seconds)
    told = json.loads((job / "result.json").read_text() or "{}")
    if "hwcap" not in told:
        raise MeasurementError(f"{artifact.name} on {cpu}: the guest ended without a result")
    return Ran(job / "outputs.npz", marks.read_text() if count else "", told["hwcap"], told["maps"])


def lay_root(setup: Setup, cpu: Cpu, root: Path) -> Path:
    """The guest's file system: fixed paths whatever the host's are, so that the same strings give the same counts."""
    for place, target in (("usr", "guest/usr"), ("lib", "guest/lib"), ("opt/python", "python")):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).symlink_to(setup.folder / target)
    files = {"etc/ld.so.cache": "", "etc/ld.so.preload": "", "proc/cpuinfo": cpu.cpuinfo()}
    files |= {f"sys/devices/system/cpu/{name}": f"{text}\n" for name, text in cpu.sysfs().items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "job").mkdir()
    return root / "job"


def _execute(command: list[str], cpu: str, seconds: float) -> None:
    """Run the guest; its environment is fixed, since it lies on the guest's stack."""
    environment = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=seconds, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise DeviceMissing(
            f"there is no {error.filename} here", hint="install util-linux, which has setarch"
        ) from error
    except OSError as error:
        raise DeviceMissing(f"qemu does not start: {error.strerror}", hint=f"run {SCRIPT} again") from error
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"the runtime gave no result on {cpu} within {seconds:g} s", hint="raise --time-limit; emulation is slow"
        ) from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise MeasurementError(
            f"the runtime fails on {cpu} ({how}): {lines[-1][:300] if lines else 'without a word'}",
            hint="--traceback shows its last words",
            detail=done.stderr[-4000:],
        )


def measure(
    setup: Setup, cpu: str, runtime: str, artifact: Path, inputs: Path, outputs: Path, *, repeats: int, seconds: float
) -> tuple[Instructions | None, int]:
    """Run an artifact `repeats` times in fresh processes and count.

    Args:
        setup: where things are.
        cpu: name of the processor.
        runtime: "litert" or "tflite-runtime".
        artifact: the `.tflite`.
        inputs: `.npz` of its inputs.
        seconds: time limit of one process.
        outputs: where the guest's outputs go (`.npz`).
        repeats: how many processes; the counts of all of them are in the result.

    Returns:
        The counts (None where qemu cannot count here) and AT_HWCAP.
    """
    found: list[counts.Counted] = []
    hwcap, maps, blocks = 0, "", ""
    with tempfile.TemporaryDirectory(prefix="edgeconv-arm-") as folder:
        for number in range(repeats if setup.facts["plugin"] else 1):
            into = Path(folder) / str(number)
            into.mkdir()
            last = number == repeats - 1
            ran = run(setup, cpu, runtime, artifact, inputs, into, profile=last, seconds=seconds)
            hwcap = ran.hwcap
            if ran.marks:
                found.append(counts.read(ran.marks, INVOKES))
                maps, blocks = ran.maps, ran.marks
            shutil.copyfile(ran.outputs, outputs)
    if not found:
        return None, hwcap
    counted = counts.summarize(found, INVOKES, "qemu-tcg-plugin", setup.facts["qemu"], f"aarch64, {cpu}")
    symbols = counts.by_symbol(blocks, maps, setup.folder / "symbols")
    reason = counted.reason
    if not counted.repeats_exactly and len(found) > 1 and any(row.symbol.startswith("ruy::") for row in symbols):
        reason += f"; {RUY}"
    return counted.model_copy(update={"by_symbol": symbols, "reason": reason}), hwcap
