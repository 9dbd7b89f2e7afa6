"""Time of each op, told by the runtime's own profiler. One job for each runtime; each runs in a process of its own.

A runtime tells events, one a kernel it ran: what it calls itself, which op of the file it is where that is known, and how
long it took. `per_op` says which events belong to which op.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeconv.errors import MeasurementError
from edgeconv.harness import machine
from edgeconv.harness.runtimes import OnnxRuntime
from edgeconv.harness.sampling import read_inputs

#: Of profiled invokes, after the warm-up; both are reached.
RUNS, SECONDS, WARM_UP = 30, 0.5, 5

#: tflite::Profiler::EventType, tflite/core/api/profiler.h.
OPERATOR, DELEGATE_OPERATOR = 2, 8


class Event(NamedTuple):
    """One kernel of one invoke.

    Attributes:
        tag: the runtime's name for it.
        node: number of the op in the file; None inside a delegate, which has its own numbers.
        us: microseconds.
    """

    tag: str
    node: int | None
    us: float


def litert(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: events of LiteRT's profiler, with XNNPACK's own times inside the delegate.

    Payload:
        artifact, inputs (`.npz` by input), confinement.

    Returns:
        method, events (tag, node, us: interquartile mean over the runs), runs.
    """
    from edgeconv.harness.litert_profiler import Profiled

    machine.enter(payload["confinement"])
    model = Profiled(Path(payload["artifact"]), payload["confinement"]["threads"], read_inputs(Path(payload["inputs"])))
    return {
        "method": "LiteRT's own profiler, in XNNPACK its own times, in whole µs",
        **_collect(model.invoke, model.events),
    }


def tflite_runtime(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: the same of tflite-runtime, whose library lets a profiler be set."""
    from tflite_runtime.interpreter import Interpreter

    machine.enter(payload["confinement"])
    interpreter = Interpreter(payload["artifact"], num_threads=payload["confinement"]["threads"])
    listener = _Listener()
    listener.attach(interpreter)
    inputs = read_inputs(Path(payload["inputs"]))
    for entry in interpreter.get_input_details():
        if tuple(entry["shape"]) != inputs[entry["name"]].shape:  # an axis that the file leaves free
            interpreter.resize_tensor_input(entry["index"], list(inputs[entry["name"]].shape))
    interpreter.allocate_tensors()
    for entry in interpreter.get_input_details():
        interpreter.set_tensor(entry["index"], np.ascontiguousarray(inputs[entry["name"]]))
    found = _collect(interpreter.invoke, listener.take)
    listener.detach(interpreter)
    return {"method": "tflite-runtime's own profiler, in XNNPACK its own times in whole µs", **found}


def onnxruntime(payload: dict[str, Any]) -> dict[str, Any]:
    """Worker job: the same of onnxruntime, which writes its events to a file. Tags are op types; nodes have names.

    Payload:
        as for `litert`, and folder: scratch.
    """
    machine.enter(payload["confinement"])
    prefix = str(Path(payload["folder"]) / "profile")
    runtime = OnnxRuntime(Path(payload["artifact"]), payload["confinement"]["threads"], profile=prefix)
    runtime.run(read_inputs(Path(payload["inputs"])))
    runs, until = 0, time.perf_counter() + SECONDS
    while runs < RUNS + WARM_UP or time.perf_counter() < until:
        runtime.invoke()
        runs += 1
    rows: dict[str, dict[str, Any]] = {}
    for event in json.loads(Path(runtime.end_profile()).read_text()):
        arguments = event.get("args", {})
        if event.get("cat") != "Node" or not str(event["name"]).endswith("_kernel_time"):
            continue
        row = rows.setdefault(arguments["node_index"], {"times": [], **_node(event["name"], arguments)})
        row["times"].append(event["dur"])
    nodes = [{**row, "us": _middle(row["times"][-RUNS:])} for row in rows.values()]
    for row in nodes:
        del row["times"]
    return {"method": "onnxruntime's own profiler", "nodes": nodes, "runs": min(runs, RUNS)}


def _node(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "op": arguments["op_name"],
        "output": name.removesuffix("_kernel_time"),
        "weight_bytes": int(arguments.get("parameter_size", 0)),
        "delegate": arguments.get("provider", ""),
    }


def _collect(invoke: Callable[[], None], take: Callable[[], list[Event]]) -> dict[str, Any]:
    """Events of many invokes as one list; each invoke runs the same kernels in the same order."""
    for _ in range(WARM_UP):
        invoke()
    take()
    runs: list[list[Event]] = []
    until = time.perf_counter() + SECONDS
    while len(runs) < RUNS or time.perf_counter() < until:
        invoke()
        runs.append(take())
    first = [(event.tag, event.node) for event in runs[0]]
    if not first or any([(event.tag, event.node) for event in run] != first for run in runs):
        raise MeasurementError(
            "the profiler does not tell the same kernels in each invoke", hint="leave it out: --no-ops"
        )
    times = np.array([[event.us for event in run] for run in runs])
    events = [[tag, node, _middle(times[:, at].tolist())] for at, (tag, node) in enumerate(first)]
    return {"events": events, "runs": len(runs)}


def _middle(times: list[float]) -> float:
    """Mean of the middle half: no outliers, and finer than the clock's microsecond."""
    ordered = sorted(times)
    quarter = len(ordered) // 4
    return float(np.mean(ordered[quarter : len(ordered) - quarter]))


class _Listener:
    """A tflite::Profiler made of callbacks, laid out as the Itanium C++ ABI lays out its virtual table.

    Virtual functions of tflite::Profiler in TFLite 2.14: two destructors, BeginEvent, EndEvent with metadata, EndEvent,
    AddEvent, AddEventWithData. tflite-runtime 2.14.0 is the only release, so that the layout cannot change.
    """

    SET = "_ZN6tflite4impl11Interpreter11SetProfilerEPNS_8ProfilerE"

    def __init__(self) -> None:
        self._open: list[list[Any]] = []
        this, u32, i64, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64, ctypes.c_char_p
        function = ctypes.CFUNCTYPE
        self._functions = [
            function(None, this)(lambda _: None),
            function(None, this)(lambda _: None),
            function(u32, this, text, ctypes.c_int, i64, i64)(self._begin),
            function(None, this, u32, i64, i64)(lambda _, handle, *__: self._end(handle)),
            function(None, this, u32)(lambda _, handle: self._end(handle)),
            function(None, this, text, ctypes.c_int, ctypes.c_uint64, i64, i64)(self._add),
            function(None, this, text, ctypes.c_int, this)(lambda *_: None),
        ]
        addresses = [ctypes.cast(each, ctypes.c_void_p).value for each in self._functions]
        self._table = (ctypes.c_void_p * (2 + len(addresses)))(0, 0, *addresses)  # offset to top and type info first
        self._object = (ctypes.c_void_p * 1)(ctypes.addressof(self._table) + 2 * ctypes.sizeof(ctypes.c_void_p))

    def attach(self, interpreter: Any) -> None:
        """Before tensors are allocated: the delegate looks then whether it is to take times."""
        self._set(interpreter, ctypes.addressof(self._object))

    def detach(self, interpreter: Any) -> None:
        """Before this object goes away."""
        self._set(interpreter, None)

    def _set(self, interpreter: Any, address: int | None) -> None:
        from tflite_runtime import _pywrap_tensorflow_interpreter_wrapper as wrapper

        library = ctypes.CDLL(wrapper.__file__)
        if not hasattr(library, self.SET):
            raise MeasurementError(
                "this build of tflite-runtime lets no profiler be set", hint="leave it out: --no-ops"
            )
        setter = getattr(library, self.SET)
        setter.restype, setter.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
        setter(interpreter._native_handle(), address)

    def _begin(self, _: Any, tag: bytes, kind: int, node: int, __: int) -> int:
        self._open.append([tag, kind, node, time.perf_counter_ns(), 0.0])
        return len(self._open)

    def _end(self, handle: int) -> None:
        event = self._open[handle - 1]
        event[4] = (time.perf_counter_ns() - event[3]) / 1e3

    def _add(self, _: Any, tag: bytes, kind: int, metric: int, node: int, __: int) -> None:
        self._open.append([tag, kind, node, 0, float(metric)])

    def take(self) -> list[Event]:
        """Events since the last call. A delegate's own event holds those of its kernels, so it is left out."""
        found = [
            Event(tag.decode(), node if kind == OPERATOR else None, us)
            for tag, kind, node, _, us in self._open
            if kind in {OPERATOR, DELEGATE_OPERATOR} and not tag.startswith(b"TfLiteXNNPackDelegate")
        ]
        self._open.clear()
        return found
