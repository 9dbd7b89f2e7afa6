"""Runs one .tflite while somebody else counts: in the guest of qemu, whose plugin it sends marks, or below valgrind.

It imports nothing of edgeconv: the guest has Python, numpy and the two runtimes. Its one argument is a JSON file:
runtime, artifact, inputs (.npz by tensor name), outputs (.npz to write), result (JSON to write), path (folders to import
from), counts (two invoke counts, for the slope), profile (whether to count by block); for valgrind, which counts whole
processes, `invokes` instead of the last two.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

MAGIC = 0x45430000
PROFILE_ON, PROFILE_OFF = 1, 2

#: Codes of the places that are marked, in order; the host reads the counts between them.
IDLE, BEFORE_LOAD, LOADED, BEFORE_FIRST, FIRST, BEFORE_FEW, FEW, BEFORE_MANY, MANY = range(10, 19)


def main() -> None:
    """Load, invoke, mark; write outputs and what this processor claims to be."""
    job = json.loads(Path(sys.argv[1]).read_text())
    sys.path[:0] = job["path"]
    import numpy as np

    interpreter_class = _interpreter_class(job["runtime"])
    libc = ctypes.CDLL(None)
    getpgid = libc.getpgid

    def mark(code: int) -> None:
        getpgid(MAGIC | code)

    for _ in range(5):  # what marking itself costs, once its caches are warm
        mark(IDLE)
    with np.load(job["inputs"]) as arrays:
        inputs = dict(arrays)
    mark(BEFORE_LOAD)
    interpreter = interpreter_class(model_path=job["artifact"], num_threads=1)
    interpreter.allocate_tensors()
    mark(LOADED)
    for entry in interpreter.get_input_details():
        interpreter.set_tensor(entry["index"], inputs[entry["name"]])
    invoke = interpreter._interpreter.Invoke  # the bare C++ call: the wrapper's checks are no part of the model

    def repeat(times: int) -> None:
        for _ in range(times):
            invoke()

    if "invokes" in job:
        repeat(job["invokes"])
        Path(job["result"]).write_text("{}")
        return
    mark(BEFORE_FIRST)
    repeat(1)
    mark(FIRST)
    outputs = {entry["name"]: interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()}
    with Path(job["outputs"]).open("wb") as stream:
        np.savez(stream, **outputs)
    few, many = job["counts"]
    repeat(1)
    mark(BEFORE_FEW)
    repeat(few)
    mark(FEW)
    mark(BEFORE_MANY)
    repeat(many)
    mark(MANY)
    maps = ""
    if job["profile"]:
        mark(PROFILE_ON)
        repeat(1)
        mark(PROFILE_OFF)
        maps = Path("/proc/self/maps").read_text()
    Path(job["result"]).write_text(json.dumps({"hwcap": _hwcap(libc), "maps": maps}))


def _interpreter_class(runtime: str) -> Any:
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter
    return Interpreter


def _hwcap(libc: Any) -> int:
    """What the kernel tells programs about this processor (AT_HWCAP)."""
    libc.getauxval.restype = ctypes.c_ulong
    return int(libc.getauxval(16))


if __name__ == "__main__":
    main()
