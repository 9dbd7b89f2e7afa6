"""Advisory locks on files (flock), which the kernel releases when their owner dies.

A lock file may be unlinked by whoever holds its lock. So a lock counts only if, once it is had, the path still leads
to the file that was locked; otherwise another process removed it meanwhile and the lock is tried anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover  # Windows: no locks, so sweep() takes every owner for alive
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


def still_there(fd: int, path: Path) -> bool:
    """Whether `path` leads to the open file `fd`."""
    try:
        there = os.stat(path, follow_symlinks=False)  # noqa: PTH116  # one call, as it is of the fd below
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def flock(fd: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file; False if `wait` is off and another process has the lock.

    Raises:
        OSError: the filesystem has no locks.
    """
    if fcntl is None:  # pragma: no cover
        return wait
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def release(fd: int) -> None:
    """Unlock and close: explicitly, because a forked child may hold a copy of the descriptor."""
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def acquire(path: Path, *, shared: bool = False) -> int:
    """Wait for the lock on the file `path`, which is made if absent; the descriptor that holds it.

    Raises:
        OSError: the file cannot be made or locked.
    """
    while True:
        fd = os.open(path, _FLAGS, 0o666)
        try:
            flock(fd, shared=shared)
            if still_there(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def seize(path: Path) -> int | None:
    """The lock of an existing file or folder whose owner is dead; None if it lives or the file is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None  # gone, or not ours to judge
    try:
        if flock(fd, wait=False) and still_there(fd, path):
            return fd
    except OSError:
        pass  # cannot tell: it counts as alive
    os.close(fd)
    return None


@contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file that stays."""
    fd = acquire(path, shared=shared)
    try:
        yield
    finally:
        release(fd)


def retire(fd: int, path: Path) -> None:
    """Release a lock and remove its file."""
    try:
        path.unlink(missing_ok=True)  # before the release: a waiter sees that its file is gone and tries anew
    finally:
        release(fd)
