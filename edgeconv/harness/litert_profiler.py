"""A model in LiteRT's C library with its profiler on. The Python package has no way to it, the library beside it has.

Declared by hand after litert/c/*.h of LiteRT 2.x; handles are pointers, a status of 0 is success. Used in a process of its own,
so that a library of another layout can at worst end that.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from edgeconv.errors import MeasurementError
from edgeconv.harness.profile import DELEGATE_OPERATOR, OPERATOR, Event
from edgeconv.harness.runtimes import Arrays

_CPU = 1  # kLiteRtHwAcceleratorCpu
_READ, _WRITE = 0, 1  # LiteRtTensorBufferLockMode
#: Bytes set aside for a LiteRtRankedTensorType, which has 72 to 80.
_TYPE_BYTES = 512
#: Words of 8 bytes in a ProfiledEventData: tag, kind, start, elapsed, six of memory use, two of metadata, source.
_EVENT_WORDS = 13
_KINDS = {1 << bit for bit in range(10)}


class Profiled:
    """A compiled model whose kernels are timed.

    Args:
        path: of a .tflite.
        threads: of XNNPACK.
        inputs: by name.

    Raises:
        MeasurementError: the library has no profiler, or does not take the file.
    """

    def __init__(self, path: Path, threads: int, inputs: Arrays) -> None:
        import ai_edge_litert

        self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / "libLiteRt.so"))
        self._environment = self._new("LiteRtCreateEnvironment", ctypes.c_int(0), None)
        model = self._new("LiteRtCreateModelFromFile", self._environment, str(path).encode())
        options = self._new("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self._compiled = self._new("LiteRtCreateCompiledModel", self._environment, model, options)
        self._signature = self._new("LiteRtGetModelSignature", model, ctypes.c_size_t(0))
        self._inputs, self._outputs = self._buffers("Input"), self._buffers("Output")
        self._fill(inputs)
        self._profiler = self._new("LiteRtCompiledModelGetProfiler", self._compiled)
        if not self._profiler.value:
            raise MeasurementError("this build of LiteRT has no profiler", hint="leave it out: --no-ops")
        self._call("LiteRtStartProfiler", self._profiler)

    def invoke(self) -> None:
        """Run once."""
        sizes = ctypes.c_size_t(len(self._inputs)), ctypes.c_size_t(len(self._outputs))
        self._call(
            "LiteRtRunCompiledModel",
            self._compiled,
            ctypes.c_size_t(0),
            sizes[0],
            self._inputs,
            sizes[1],
            self._outputs,
        )

    def events(self) -> list[Event]:
        """Those since the last call."""
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        raw = (ctypes.c_uint64 * (count.value * 2 * _EVENT_WORDS))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, raw)
        found = []
        for start in range(0, count.value * _EVENT_WORDS, _EVENT_WORDS):
            tag, kind, us, node = raw[start], raw[start + 1] & 0xFFFFFFFF, raw[start + 3], raw[start + 10]
            if not tag or kind not in _KINDS:
                raise MeasurementError(
                    "this build of LiteRT lays out its events in another way", hint="leave it out: --no-ops"
                )
            if kind in {OPERATOR, DELEGATE_OPERATOR}:
                name = ctypes.string_at(tag).decode()
                found.append(Event(name, node if kind == OPERATOR else None, float(us)))
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        return [event for event in found if not event.tag.startswith("TfLiteXNNPackDelegate")]

    def _buffers(self, side: str) -> Any:
        """One buffer for each input or output of the first signature, as an array of handles."""
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", self._signature, ctypes.byref(count))
        buffers = (ctypes.c_void_p * count.value)()
        for number in range(count.value):
            at = ctypes.c_size_t(number)
            tensor = self._new(f"LiteRtGetSignature{side}TensorByIndex", self._signature, at)
            kind = (ctypes.c_uint8 * _TYPE_BYTES)()
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            needs = self._new(f"LiteRtGetCompiledModel{side}BufferRequirements", self._compiled, ctypes.c_size_t(0), at)
            make = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffers[number] = self._new(make, self._environment, kind, needs).value
        return buffers

    def _fill(self, inputs: Arrays) -> None:
        """Copy the arrays into the input buffers; the signature may name an input otherwise than its tensor is named."""
        left = dict(inputs)
        for number, handle in enumerate(self._inputs):
            at, buffer = ctypes.c_size_t(number), ctypes.c_void_p(handle)
            tensor = self._new("LiteRtGetSignatureInputTensorByIndex", self._signature, at)
            names = [
                self._text("LiteRtGetSignatureInputName", self._signature, at),
                self._text("LiteRtGetTensorName", tensor),
            ]
            name = next((each for each in names if each in left), None)
            if name is None:
                raise MeasurementError(f"LiteRT's signature has an input {names[0]!r} for which there are no data")
            array = np.ascontiguousarray(left.pop(name))
            address, size = ctypes.c_void_p(), ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            if size.value != array.nbytes:
                raise MeasurementError(f"LiteRT's input {name!r} takes {size.value} bytes, not {array.nbytes}")
            self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), ctypes.c_int(_WRITE))
            ctypes.memmove(address, array.ctypes.data, array.nbytes)
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def _add(self, options: ctypes.c_void_p, name: bytes, toml: bytes) -> None:
        """Options travel as TOML text that the library frees."""
        libc = ctypes.CDLL(None)
        libc.strdup.restype = ctypes.c_void_p
        text = ctypes.c_void_p(libc.strdup(toml))
        made = self._new("LiteRtCreateOpaqueOptions", name, text, ctypes.cast(libc.free, ctypes.c_void_p))
        self._call("LiteRtAddOpaqueOptions", options, made)

    def _text(self, name: str, *arguments: Any) -> str:
        found = ctypes.c_char_p()
        self._call(name, *arguments, ctypes.byref(found))
        return (found.value or b"").decode()

    def _new(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """The handle that a function writes through its last argument."""
        handle = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, name: str, *arguments: Any) -> None:
        if not hasattr(self._library, name):
            raise MeasurementError(f"this build of LiteRT has no {name}", hint="leave it out: --no-ops")
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise MeasurementError(f"LiteRT's {name} fails with status {status}", hint="leave it out: --no-ops")
