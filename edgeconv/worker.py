"""A worker process: runs one job after another, so that a converter's crash, hang or memory blow-up stays its own.

The parent writes one JSON request a line to the worker's standard input and reads one JSON answer a line from a pipe of
its own, so that whatever a library prints (kept in a log, shown when something fails) cannot disturb the protocol.
A job is a function named as `package.module:function` that takes a dict and returns a dict, both plain data.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgeconv.errors import DiskFull, EdgeconvError, MissingExtra, OutOfMemory, StageCrashed, StageTimeout, from_json

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: Below this a worker keeps what it freed: giving it back takes longer than asking for it again.
MUCH_BYTES = 1_000_000_000

#: Seconds between two looks at the clock and at the worker's memory.
TICK = 0.2

# The worker must not see the user's folder on sys.path (a file named onnx.py there would shadow the library);
# the job that imports the user's model adds it itself.
_BOOT = (
    "import sys; sys.path[:1] = []; sys.path.append({root!r}); "
    "from edgeconv.worker import main; main({fd}, {preload!r})"
)

_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONHASHSEED": "0",  # converters iterate over sets of names; the same file must come out every time
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # constant folding then rounds alike on every x86-64 machine
}


@dataclass(frozen=True)
class Limits:
    """What a job may use.

    Attributes:
        seconds: wall time of one job.
        bytes: resident memory of the worker process; None: 90 % of the machine's.
    """

    seconds: float = 1800.0
    bytes: int | None = None


class Worker:
    """One child process. Use as a context manager; jobs run in order.

    Args:
        preload: modules to import at start, so that the import overlaps with other work.
        limits: what each job may use.
        environment: variables besides the parent's.
        inherit: whether the process gets the parent's variables at all.
    """

    def __init__(
        self,
        preload: Sequence[str] = (),
        limits: Limits | None = None,
        environment: dict[str, str] | None = None,
        *,
        inherit: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self._preload = tuple(preload)
        self._environment = {**(os.environ if inherit else {}), **_ENVIRONMENT, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._log: IO[bytes] | None = None
        self._pending = b""
        self.peak_bytes = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process if it does not run; returns at once."""
        if self._process is not None:
            return
        read_end, write_end = os.pipe()
        self._log = _log_file()
        boot = _BOOT.format(root=str(Path(__file__).parent.parent), fd=write_end, preload=self._preload)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", boot],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(write_end,),
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the worker
            )
        finally:
            os.close(write_end)
        self._answers = read_end
        self._pending = b""

    def run(
        self, function: str, payload: dict[str, Any], seconds: float | None = None, *, who: str = "the converter"
    ) -> dict[str, Any]:
        """Run one job and return its answer.

        Args:
            function: `package.module:function`.
            payload: plain data.
            seconds: time limit of this job, instead of the worker's.
            who: whose code the job runs, for the message if it fails.

        Raises:
            StageTimeout, OutOfMemory, StageCrashed: what became of the process; the next job starts a new one.
            EdgeconvError: raised by the job itself, with its own class.
        """
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        self.peak_bytes = 0
        try:
            request = {"function": function, "payload": payload, "who": who}
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._await(self.limits.seconds if seconds is None else seconds, who)
        except BrokenPipeError:
            raise self._death(who) from None
        except BaseException:
            self._kill()
            raise
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise from_json(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def dismiss(self) -> None:
        """Tell the process to leave, and don't wait for it: `close` does."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """End the process, politely first: closing its input makes it leave."""
        self.dismiss()
        if self._process is None:
            return
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._kill()
            return
        self._forget()

    def _await(self, seconds: float, who: str) -> bytes:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        ceiling = self.limits.bytes or int(_machine_bytes() * 0.9)
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._answers], [], [], TICK)
            if ready:
                chunk = os.read(self._answers, 1 << 16)
                if not chunk:
                    raise self._death(who)
                self._pending += chunk
            used = _resident_bytes(self._process.pid)
            self.peak_bytes = max(self.peak_bytes, used)
            if used > ceiling:
                raise OutOfMemory(
                    f"{who}'s process grew to {used / 1e9:.1f} GB, over its limit of {ceiling / 1e9:.1f} GB",
                    hint="use a machine with more memory, or raise `memory_gb` in the target's [limits]",
                )
            if time.monotonic() > deadline:
                raise StageTimeout(
                    f"{who} gave no result within the time limit of {seconds:g} s",
                    hint="raise `seconds` in the target's [limits], or --time-limit",
                    detail=self._log_tail(),
                )
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _death(self, who: str) -> EdgeconvError:
        """The process ended without an answer: say how."""
        assert self._process is not None
        code = self._process.wait()
        tail = self._log_tail()
        self._forget()
        if code == -signal.SIGKILL:
            return OutOfMemory(
                f"{who}'s process was killed (SIGKILL), most likely by the kernel for want of memory",
                hint="close other programs, or use a machine with more memory",
                detail=tail,
            )
        how = f"exit code {code}" if code >= 0 else f"signal {_signal_name(-code)}"
        return StageCrashed(
            f"{who}'s process died with {how}",
            hint="run again with --traceback to see its last words",
            detail=tail,
        )

    def _log_tail(self, size: int = 4000) -> str:
        if self._log is None:
            return ""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - size))
        return self._log.read().decode(errors="replace")

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._answers >= 0:
            os.close(self._answers)
        if self._log is not None:
            self._log.close()
        self._process, self._answers, self._log = None, -1, None


def _log_file() -> IO[bytes]:
    """Where the process's output goes; in memory where the system can, so that a full disk does not stop the start."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgeconv-log"), "w+b", buffering=0)
    return tempfile.TemporaryFile()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return str(number)


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _die_with_parent() -> None:
    """On Linux the kernel ends this process when its parent dies, even while a converter holds the interpreter lock."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_pdeathsig = 1  # linux/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() == 1:  # the parent was gone before the call
        os._exit(1)


def main(answers: int, preload: Sequence[str]) -> None:
    """Serve jobs until standard input closes. Called in the child process only."""
    _die_with_parent()
    requests: list[bytes] = []
    wake = threading.Condition()

    def listen() -> None:
        for line in sys.stdin.buffer:
            with wake:
                requests.append(line)
                wake.notify()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    gc.disable()  # what an import makes stays
    for name in preload:
        with contextlib.suppress(ImportError):  # the job that needs it will say so, in its own words
            importlib.import_module(name)
    gc.freeze()  # later collections need not walk it
    gc.enable()
    gc.set_threshold(20_000, 20, 20)
    while True:
        with wake:
            while not requests:
                wake.wait()
            request = json.loads(requests.pop(0))
        os.write(answers, _serve(request) + b"\n")
        _give_back()


def _give_back() -> None:
    """Return freed memory to the system before the next job, if there is much.

    glibc keeps what a converter freed: 1.2 of 1.9 GB after convnext_tiny's SavedModel, and the next stage takes its own on top.
    """
    import ctypes

    if _resident_bytes(os.getpid()) < MUCH_BYTES:
        return
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


def _serve(request: dict[str, Any]) -> bytes:
    """Run a job; its answer, or the typed error that it became, as one line of JSON."""
    module, _, function = request["function"].partition(":")
    try:
        job = getattr(importlib.import_module(module), function)
        return json.dumps({"result": job(request["payload"])}).encode()
    except BaseException as raised:  # noqa: BLE001 - a converter may raise anything, even SystemExit
        error = _typed(raised, request["who"])
        error.detail = error.detail or traceback.format_exc()
        return json.dumps({"error": error.to_json()}).encode()


def _is_disk_full(raised: BaseException) -> bool:
    """Python says it by number; what C++ libraries raise says it in words only."""
    if isinstance(raised, OSError) and raised.errno is not None:
        return raised.errno in _FULL
    return any(os.strerror(number) in str(raised) for number in _FULL)


def _typed(raised: BaseException, who: str) -> EdgeconvError:
    if isinstance(raised, EdgeconvError):
        return raised
    if isinstance(raised, ModuleNotFoundError):
        return MissingExtra(
            f"the package {raised.name!r} is needed for this and is not installed",
            hint="pip install 'edgeconv[convert]'",
        )
    if isinstance(raised, MemoryError):
        return OutOfMemory(f"{who} ran out of memory", hint="use a machine with more memory")
    if _is_disk_full(raised):
        return DiskFull(
            f"no space is left on the disk that {who} writes to",
            hint="free space with `edgeconv cache gc --max-size 1GB`, or move the cache with `--cache-dir`",
        )
    lines = str(raised).strip().splitlines()
    return StageCrashed(
        f"{who} raised {type(raised).__name__}" + (f": {lines[0][:400]}" if lines else ""),
        hint="run again with --traceback to see where",
    )
