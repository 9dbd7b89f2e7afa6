"""Puts a folder of results in its place: whole, or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeconv.store import os_error

_PREFIX = ".edgeconv-"
_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a new folder beside `folder`, then exchange the two in one step.

    A reader sees the old content or the new, never a mixture; a process that dies midway leaves the old one.

    Raises:
        StoreError, DiskFull: the place cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        with _staging(folder.parent) as staging:
            fill(staging)
            _sync(staging)
            _swap(staging, folder)
    except OSError as error:
        raise os_error(error, folder) from error


def write_json(path: Path, data: Any) -> None:
    """Indented JSON with a newline at its end."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A new folder, marked as live by a lock that its owner holds; whatever stands there at the end is removed."""
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    path.chmod(0o755)
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _sweep(parent: Path) -> None:
    """Remove what dead processes left."""
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # another process has just removed it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def _swap(staging: Path, folder: Path) -> None:
    if not folder.exists():
        try:
            staging.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    if not _exchange(staging, folder):
        old = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder.parent))
        folder.rename(old / "old")
        staging.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders atomically; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    done = libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    return bool(done == 0)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
