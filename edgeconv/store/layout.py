"""Where things lie below the versioned folder, and the three locks of the house.

`gc.lock` is shared by publishers and taken alone by gc. `turn.lock` is held while waiting for it, so that a stream of
publishers cannot starve gc. `mutex.lock` is held by whoever takes a name away: nothing that was found bad under it can
turn good before it is moved. Order: turn, gc, mutex.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeconv.errors import StoreError
from edgeconv.fingerprint import canonical_json, of_data
from edgeconv.store import locks

FORMAT = "v1"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def is_digest(text: object) -> bool:
    """Whether `text` is a full lower-case SHA-256."""
    return isinstance(text, str) and _DIGEST.match(text) is not None


def checked_key(key: str) -> str:
    """The key itself. Raises StoreError if it is none: it becomes a file name."""
    if not is_digest(key):
        raise StoreError(f"{key!r} is not a key: 64 hexadecimal digits are wanted")
    return key


def sealed(body: Any) -> bytes:
    """JSON of plain data with its own checksum. Raises ValueError or TypeError as `canonical_json` does."""
    return canonical_json({"body": body, "sha256": of_data(body)}) + b"\n"


def unsealed(data: bytes) -> Any:
    """What `sealed` closed. Raises ValueError if that is not what it was."""
    try:
        outer = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(outer, dict) or set(outer) != {"body", "sha256"} or of_data(outer["body"]) != outer["sha256"]:
        raise ValueError("the checksum does not fit")
    return outer["body"]


class Layout:
    """Paths of one store; making one touches nothing."""

    def __init__(self, root: Path) -> None:
        self.base = root / FORMAT
        self.blobs = self.base / "blobs"
        self.records = self.base / "records"
        self.notes = self.base / "notes"
        self.pins = self.base / "pins"
        self.locks = self.base / "locks"
        self.work = self.base / "work"
        self.quarantine = self.base / "quarantine"
        self.events = self.base / "events.jsonl"
        self.gc_lock = self.base / "gc.lock"
        self.turn = self.base / "turn.lock"
        self.mutex = self.base / "mutex.lock"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders directly below the base."""
        return (self.blobs, self.records, self.notes, self.pins, self.locks, self.work, self.quarantine)

    @property
    def singles(self) -> tuple[Path, ...]:
        """All files directly below the base."""
        return (self.events, self.gc_lock, self.turn, self.mutex)

    def make(self, folder: Path) -> Path:
        """The folder, made if absent. Raises OSError."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """No gc meanwhile; other publishers are welcome. Raises OSError."""
        with self._gc_lock(shared=True):
            yield

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Nobody publishes, collects or quarantines meanwhile. Raises OSError."""
        with self._gc_lock(shared=False), locks.held(self.mutex):
            yield

    @contextmanager
    def _gc_lock(self, *, shared: bool) -> Iterator[None]:
        self.make(self.base)
        with locks.held(self.turn):
            fd = locks.acquire(self.gc_lock, shared=shared)
        try:
            yield
        finally:
            locks.release(fd)

    def quarantine_if(self, path: Path, is_bad: Callable[[], bool]) -> bool:
        """Put a file aside if it is (still) bad; whether it is bad. A read-only store keeps it. Raises OSError.

        Another process may have replaced the file since the caller saw it, so `is_bad` decides again under the mutex.
        It must not take the mutex itself, and says False of an absent file.
        """
        try:
            self.make(self.quarantine)
            with locks.held(self.mutex):
                if not is_bad():
                    return False
                path.rename(self.quarantine / f"{path.name}.{os.urandom(8).hex()}")
                return True
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _READ_ONLY:
                return is_bad()
            raise

    def log(self, event: str, **data: Any) -> None:
        """Append one event. Raises OSError."""
        line = canonical_json({"event": event, "time": time.time(), "pid": os.getpid(), **data}) + b"\n"
        fd = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            os.write(fd, line)  # one call: lines of several processes do not mix
        finally:
            os.close(fd)
