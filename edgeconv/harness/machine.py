"""The machine: what it is, how busy it is, and how a process is confined to a part of it. Linux first."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeconv.errors import MeasurementError

#: What a measuring process inherits of the user's environment; everything else could change what is measured.
KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
)

#: Libraries that would otherwise start a thread a processor; the runtimes get their number of threads as an argument.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Confinement:
    """What a measuring process may use.

    Attributes:
        threads: of the runtime.
        cpus: numbers of the processors it may run on; None: all that edgeconv may.
        niceness: as for `nice`; None: inherited.
        memory_mb: what it may allocate beyond an empty interpreter, in MB of 10⁶ bytes; None: no limit.
    """

    threads: int = 1
    cpus: tuple[int, ...] | None = None
    niceness: int | None = None
    memory_mb: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "threads": self.threads,
            "cpus": None if self.cpus is None else list(self.cpus),
            "niceness": self.niceness,
            "memory_mb": self.memory_mb,
        }


def environment(threads: int) -> dict[str, str]:
    """The whole environment of a measuring process."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, **dict.fromkeys(_THREADS, str(threads)), "PYTHONHASHSEED": "0"}


def enter(confinement: dict[str, Any]) -> None:
    """Confine this process. Raises MeasurementError where the system refuses."""
    try:
        if confinement["cpus"] is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, confinement["cpus"])
        if confinement["niceness"] is not None:
            os.setpriority(os.PRIO_PROCESS, 0, confinement["niceness"])
        if confinement["memory_mb"] is not None:
            _limit_memory(int(confinement["memory_mb"] * 1e6))
    except (OSError, ValueError) as error:
        raise MeasurementError(
            f"the system does not confine the measuring process as asked ({error})",
            hint="choose processors that exist, and a niceness that is not below the present one",
        ) from error


def _limit_memory(count: int) -> None:
    """Private writable memory, which is what phones run out of; mapped files (the model's weights) do not count."""
    import resource

    used = 0
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                used = int(line.split()[1]) * 1024
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + count, most))


def allow_more(confinement: dict[str, Any], count: int | None) -> None:
    """Let this process have memory beside what `enter` confined it to, for what the harness itself keeps.

    Args:
        confinement: as for `enter`.
        count: bytes; None: the limit goes.
    """
    if confinement["memory_mb"] is None:
        return
    import resource

    now, most = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = sys.maxsize if most == resource.RLIM_INFINITY else most
    wanted = most if count is None or now + count > ceiling else now + count
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def allowed() -> list[int]:
    """Numbers of the processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def quietest(count: int, seconds: float = 0.05) -> tuple[int, ...] | None:
    """The `count` least busy processors that this process may use; None where the system does not tell."""
    before = cpu_times()
    if not before or not hasattr(os, "sched_getaffinity"):
        return None
    time.sleep(seconds)
    after = cpu_times()
    busy = {cpu: after[cpu].busy - before[cpu].busy for cpu in allowed() if cpu in before and cpu in after}
    return tuple(sorted(sorted(busy, key=lambda cpu: (busy[cpu], cpu))[:count])) or None


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since boot that a processor spent; see proc(5)."""

    busy: float
    stolen: float


def cpu_times() -> dict[int, CpuTimes]:
    """By processor; empty where the system does not tell."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return {}
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            user, nice, system, _, _, irq, soft, stolen = (int(field) / tick for field in fields[:8])
            found[int(name[3:])] = CpuTimes(user + nice + system + irq + soft, stolen)
    return found


class Watch:
    """How much of a stretch of time others had the processors. Starts when made.

    Args:
        cpus: the processors in question; None: all.
    """

    def __init__(self, cpus: list[int] | None) -> None:
        self._cpus = cpus
        self._before = cpu_times()
        self._wall = time.perf_counter()
        self._own = time.process_time()

    def shares(self, waited_seconds: float | None) -> dict[str, float]:
        """waited: share of the time in which this process was ready and another ran; stolen: by the hypervisor.

        Args:
            waited_seconds: what the invokes lost to others, where that is known (one thread: wall less CPU time); None: what
                others used of the processors stands for it.
        """
        wall = max(time.perf_counter() - self._wall, 1e-9)
        own = time.process_time() - self._own
        after = cpu_times()
        cpus = [cpu for cpu in (self._cpus or list(after)) if cpu in after and cpu in self._before]
        capacity = wall * max(len(cpus), 1)
        stolen = sum(after[cpu].stolen - self._before[cpu].stolen for cpu in cpus) / capacity
        if waited_seconds is None:
            busy = sum(after[cpu].busy - self._before[cpu].busy for cpu in cpus)
            waited = (busy - own) / capacity
        else:
            waited = waited_seconds / wall - stolen
        return {"waited": round(min(max(waited, 0.0), 1.0), 4), "stolen": round(min(max(stolen, 0.0), 1.0), 4)}


def host() -> dict[str, Any]:
    """What the machine is, as far as latency depends on it; the same on each run."""
    info = _cpu_info()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
    }


def fingerprint() -> dict[str, Any]:
    """`host` and what else is worth knowing beside a measurement: flags, kernel, governor, memory, load."""
    info = _cpu_info()
    flags = info.get("flags") or info.get("Features") or ""
    return {
        **host(),
        "flags": sorted(set(flags.split()) & _TELLING_FLAGS),
        "kernel": platform.release(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": "hypervisor" in flags.split(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


#: Instruction sets for which runtimes have kernels of their own (x86-64 and aarch64 names in /proc/cpuinfo).
_TELLING_FLAGS = set(
    "sse4_1 sse4_2 avx avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 avx_vnni amx_int8 amx_tile "
    "asimd asimddp asimdhp fphp i8mm bf16 sve sve2 sme".split()
)


def _cpu_info() -> dict[str, str]:
    """The first processor's entry."""
    text = _text("/proc/cpuinfo") or ""
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
