"""Jobs for the tests of the worker: what a converter may do to its process. Imported by the worker process."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edgeconv.errors import UnsupportedOp


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    print("a library that prints")
    print("and complains", file=sys.stderr)
    return {**payload, "pid": os.getpid(), "cwd on path": "" in sys.path}


def large(payload: dict[str, Any]) -> dict[str, Any]:
    return {"text": "x" * payload["size"]}


def abort(_: dict[str, Any]) -> dict[str, Any]:
    print("last words", file=sys.stderr, flush=True)
    os.abort()


def leave(_: dict[str, Any]) -> dict[str, Any]:
    os._exit(7)


def leave_well(_: dict[str, Any]) -> dict[str, Any]:
    os._exit(0)


def segfault(_: dict[str, Any]) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def killed(_: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def real_time_signal(_: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGRTMIN + 2)
    time.sleep(60)
    return {}


def hang(payload: dict[str, Any]) -> dict[str, Any]:
    Path(payload["pid file"]).write_text(str(os.getpid()))
    time.sleep(600)
    return {}


def hang_with_a_child(payload: dict[str, Any]) -> dict[str, Any]:
    child = os.fork()
    if child:
        Path(payload["pid file"]).write_text(str(child))
    time.sleep(600)
    return {}


def eat_memory(_: dict[str, Any]) -> dict[str, Any]:
    held = []
    for _ in range(40):
        held.append(b"x" * (50 << 20))
        time.sleep(0.05)
    time.sleep(600)
    return {"held": len(held)}


def memory_error(_: dict[str, Any]) -> dict[str, Any]:
    raise MemoryError


def typed(_: dict[str, Any]) -> dict[str, Any]:
    raise UnsupportedOp("Det in head", hint="another op", stage="tflite")


def raises(_: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("first line\nsecond line")


def disk_full(_: dict[str, Any]) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")


def disk_full_in_cpp(_: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("/x/variables.data; No space left on device [Op:SaveV2]")


def raises_nothing(_: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError


def exits(_: dict[str, Any]) -> dict[str, Any]:
    sys.exit(3)


def missing_package(_: dict[str, Any]) -> dict[str, Any]:
    import no_such_package_anywhere  # noqa: F401

    return {}


def not_plain(_: dict[str, Any]) -> dict[str, Any]:
    return {"what": object()}
