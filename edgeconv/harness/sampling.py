"""Takes times of one artifact in one runtime, in this process: the phases apart, a warm-up that settles, every sample kept."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeconv.harness import machine, stats
from edgeconv.harness.runtimes import RUNTIMES, Arrays, Relaid

#: The warm-up lasts at least this long, and never longer than the second number of seconds.
WARM_UP_SECONDS = (0.2, 5.0)
WARM_UP_RUNS = 5
#: Two windows of the warm-up in a row whose medians differ by no more than this, or by no more than their noise, are settled.
SETTLED = 0.02
#: Samples that are kept at most, an even number: a second of the shortest invokes. More are thinned out evenly.
MOST_SAMPLES = 200_000


def latency(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: load, prepare, first invoke, warm-up, steady state.

    Payload:
        runtime, artifact; layouts (None where `inputs` are in the file's own layout).
        inputs: `.npz` with one array an input, named as the input or as in/0/<input>.
        confinement: see `machine.Confinement.to_json`.
        min_runs, min_seconds: of the steady state; both are reached.
        spawned_ns: time.monotonic_ns() when the process was started, or None where it was used before.

    Returns:
        phases (ms), the numbers of `stats.summarize`, trust (see `stats.trust`), conditions, warm_up_runs, samples_ns.
        runs counts all timed invokes; the numbers are those of samples_ns, which are all or, of more than MOST_SAMPLES,
        one of every conditions["kept_every"].
    """
    entered = time.monotonic_ns()
    machine.enter(payload["confinement"])
    live = Live(payload)
    phases = {"process_start_ms": (entered - payload["spawned_ns"]) / 1e6 if payload.get("spawned_ns") else None}
    phases |= live.phases
    warm_up, settled = settle(live.invoke)
    one_thread = payload["confinement"]["threads"] == 1
    watch = machine.Watch(payload["confinement"]["cpus"])
    wall, cpu, runs, every = sample(live.invoke, payload["min_runs"], payload["min_seconds"])
    conditions = {
        "settled": settled,
        **watch.shares(every * float((wall - cpu).clip(0).sum()) / 1e9 if one_thread else None),
        "cpu_share": round(float(cpu.sum() / wall.sum()), 4),
        "kept_every": every,
    }
    milliseconds = wall / 1e6
    return {
        "phases": {**phases, "warm_up_ms": float(warm_up.sum()) / 1e6},
        **stats.summarize(milliseconds),
        "runs": runs,
        "warm_up_runs": len(warm_up),
        "trust": stats.trust(milliseconds, conditions),
        "conditions": conditions,
        "samples_ns": wall.tolist(),
    }


class Live:
    """A loaded artifact with its inputs set, and what it took to come so far.

    Args:
        payload: runtime, artifact, layouts, inputs, confinement.
    """

    def __init__(self, payload: dict[str, Any]) -> None:
        runtime_class = RUNTIMES[payload["runtime"]]
        path = Path(payload["artifact"])
        self.phases: dict[str, Any] = {}
        self._time("import", lambda: importlib.import_module(runtime_class.module))
        self.runtime = self._time("load", lambda: runtime_class(path, payload["confinement"]["threads"]))
        self._time("prepare", self.runtime.prepare)
        feeds = read_inputs(Path(payload["inputs"]))
        relaid = Relaid(self.runtime, payload["layouts"]) if payload.get("layouts") else self.runtime
        self.outputs: Arrays = self._time("first_invoke", lambda: relaid.run(feeds))
        self.invoke: Callable[[], None] = self.runtime.invoke

    def _time(self, phase: str, action: Callable[[], Any]) -> Any:
        start = time.perf_counter_ns()
        result = action()
        self.phases[f"{phase}_ms"] = (time.perf_counter_ns() - start) / 1e6
        return result


def read_inputs(path: Path) -> Arrays:
    """The arrays of an `.npz` by input; of a reference file, those of its first sample."""
    with np.load(path, allow_pickle=False) as arrays:
        first = {name.split("/", 3)[3]: arrays[name] for name in arrays.files if name.startswith("batch/1/in/")}
        first = first or {name.split("/", 2)[2]: arrays[name] for name in arrays.files if name.startswith("in/0/")}
        return first or {name: arrays[name] for name in arrays.files}


def settle(invoke: Callable[[], None]) -> tuple[Any, bool]:
    """Invoke until the times settle; returns them in ns, and whether they did before the warm-up had to end."""
    times: list[int] = []
    window: list[float] = []
    started = time.perf_counter()
    least, most = WARM_UP_SECONDS
    previous: float | None = None
    while True:
        start = time.perf_counter_ns()
        invoke()
        times.append(time.perf_counter_ns() - start)
        window.append(times[-1])
        passed = time.perf_counter() - started
        if (len(window) < WARM_UP_RUNS or sum(window) < least * 1e9 / 3) and passed <= most:
            continue
        median = float(np.median(window))
        noise = float(np.median(np.abs(np.array(window) - median))) / np.sqrt(len(window)) * 4
        still = previous is not None and abs(median - previous) <= max(SETTLED * previous, noise)
        if still and passed >= least:
            return np.array(times), True
        if passed > most:
            return np.array(times), False
        previous, window = median, []


class Samples(NamedTuple):
    """Times of invokes in the order in which they were taken.

    Attributes:
        wall, cpu: int64 arrays, in ns; at most MOST_SAMPLES.
        runs: how many invokes were timed.
        every: one of so many is in the arrays, evenly spaced over all.
    """

    wall: Any
    cpu: Any
    runs: int
    every: int


def sample(invoke: Callable[[], None], min_runs: int, min_seconds: float) -> Samples:
    """Invoke until both bounds are reached.

    When the arrays are full, every second sample goes: what stays covers the whole time in bounded memory.
    """
    wall, cpu = np.zeros(MOST_SAMPLES, np.int64), np.zeros(MOST_SAMPLES, np.int64)
    clock, used = time.perf_counter_ns, time.process_time_ns
    gc.collect()
    gc.disable()
    try:
        runs, kept, every, until = 0, 0, 1, clock() + int(min_seconds * 1e9)
        while True:
            own = used()
            start = clock()
            invoke()
            end = clock()
            spent = used() - own
            if runs % every == 0:
                if kept == MOST_SAMPLES:
                    kept, every = kept // 2, every * 2
                    wall[:kept], cpu[:kept] = wall[::2].copy(), cpu[::2].copy()
                wall[kept], cpu[kept] = end - start, spent
                kept += 1
            runs += 1
            if runs >= min_runs and end >= until:
                break
    finally:
        gc.enable()
    return Samples(wall[:kept], cpu[:kept], runs, every)


def describe(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: the inputs and outputs of a file as its runtime sees them.

    Payload:
        runtime, artifact, confinement.

    Returns:
        inputs (see `inputs.ends_of`), outputs (see `Runtime.ends`), delegates, and known: [low, high] by input that the
        graph itself implies.
    """
    from edgeconv.harness import inputs, vocabulary

    machine.enter(payload["confinement"])
    runtime = RUNTIMES[payload["runtime"]](Path(payload["artifact"]), payload["confinement"]["threads"])
    runtime.prepare()
    found: dict[str, Any] = runtime.ends()
    return {
        **found,
        "inputs": inputs.ends_of(runtime),
        "delegates": runtime.delegates(),
        "known": vocabulary.known(Path(payload["artifact"]), found["inputs"]),
    }


def block(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: one block of a paired comparison, in a process of its own.

    Payload:
        as for `latency`, with warm_up_seconds instead of a warm-up that settles: what has not settled by then is the
        same for both files, and the blocks are many.

    Returns:
        wall_ms, cpu_ms: medians; mean_ms: of the wall times; runs.
    """
    machine.enter(payload["confinement"])
    live = Live(payload)
    sample(live.invoke, 3, payload["warm_up_seconds"])
    wall, cpu, runs, _ = sample(live.invoke, payload["min_runs"], payload["min_seconds"])
    return {
        "wall_ms": float(np.median(wall)) / 1e6,
        "cpu_ms": float(np.median(cpu)) / 1e6,
        "mean_ms": float(wall.mean()) / 1e6,
        "runs": runs,
    }


def ready(_: dict[str, Any]) -> dict[str, Any]:
    """Worker job that says that the process has started and imported what it was told to."""
    return {}
