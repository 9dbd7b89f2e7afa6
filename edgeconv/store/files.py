"""Files that appear whole or not at all: temporary ones owned by a lock, publishing, hashing, errno's names."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeconv.errors import DiskFull, StoreError
from edgeconv.fingerprint import CHUNK
from edgeconv.store import locks

_TEMP = ".edgeconv-tmp-"
_TEMP_NAME = re.compile(re.escape(_TEMP) + r"[0-9a-f]{24}\Z")
_FULL = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file size limit is reached",
}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_TRIES = 16
_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def os_error(error: OSError, folder: Path) -> StoreError:
    """The StoreError or DiskFull that says what `error` means to somebody who writes below `folder`."""
    if error.errno in _FULL:
        return DiskFull(
            f"{_FULL[error.errno]} for writing in {folder}",
            hint="free space with `edgeconv cache gc --max-size 1GB`, or move the cache with `--cache-dir`",
        )
    where = error.filename if isinstance(error.filename, str) else folder
    return StoreError(
        f"cannot use {where}: {error.strerror or error}",
        hint="check its permissions, or move the cache with `--cache-dir`",
    )


@contextmanager
def guard(folder: Path) -> Iterator[None]:
    """Turn an OSError of the body into a StoreError or a DiskFull that names `folder`."""
    try:
        yield
    except OSError as error:
        raise os_error(error, folder) from error


def new_temp_name() -> str:
    """A name that `is_temp` knows and nobody else has."""
    return _TEMP + os.urandom(12).hex()


def is_temp(name: str) -> bool:
    """Whether a file of that name is one of ours on its way."""
    return _TEMP_NAME.match(name) is not None


@dataclass(frozen=True)
class Temp:
    """A temporary file or folder, marked as alive by the lock on `fd`."""

    path: Path
    fd: int


@contextmanager
def temp_file(folder: Path, mode: int = 0o666) -> Iterator[Temp]:
    """A new file in `folder`, gone at the end unless it was renamed. Raises OSError."""
    while True:
        path = folder / new_temp_name()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, mode)
        try:
            locks.flock(fd)
            if locks.still_there(fd, path):  # otherwise a sweeper came between the two lines above
                yield Temp(path, fd)
                return
        finally:
            path.unlink(missing_ok=True)
            locks.release(fd)


@contextmanager
def temp_folder(folder: Path) -> Iterator[Temp]:
    """A new folder in `folder`, gone at the end unless it was renamed. Raises OSError."""
    while True:
        path = folder / new_temp_name()
        path.mkdir()
        try:
            fd = os.open(path, os.O_RDONLY | _OPEN)
        except FileNotFoundError:
            continue  # a sweeper came between the two lines above
        try:
            locks.flock(fd)
            if locks.still_there(fd, path):
                yield Temp(path, fd)
                return
        finally:
            remove_tree(path)
            locks.release(fd)


def names(folder: Path) -> list[str]:
    """Names in a folder, sorted; none if it is absent."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  # names are wanted, not paths
    except FileNotFoundError:
        return []


def sweep_temps(folder: Path) -> int:
    """Remove temporary files and folders of dead processes from `folder`; their number."""
    removed = 0
    for name in filter(is_temp, names(folder)):
        path = folder / name
        fd = locks.seize(path)
        if fd is None:
            continue
        try:
            remove(path)
            removed += 1
        finally:
            locks.release(fd)
    return removed


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder, read-only parts included; what another process removes meanwhile is fine."""
    import shutil

    if not path.is_dir() or path.is_symlink():
        return
    with suppress(OSError):
        path.chmod(0o700)
    for folder, children, _ in os.walk(path):
        for child in children:
            with suppress(OSError):
                inside = Path(folder, child)
                if not inside.is_symlink():
                    inside.chmod(0o700)  # before the walk goes in
    shutil.rmtree(path, ignore_errors=True)


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading.

    Raises:
        StoreError: a symlink, a device, a pipe, a socket.
        OSError: as `open` does.
    """
    # O_NONBLOCK: opening a pipe must not hang.
    flags = os.O_RDONLY | _OPEN | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link; only regular files and folders can be stored")
    fd = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(f"{path} is not a regular file; only regular files and folders can be stored")
    return os.fdopen(fd, "rb")


def write_all(fd: int, data: bytes) -> None:
    """Write it whole: one `os.write` may write less. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def pour(source: IO[bytes], fd: int | None) -> tuple[str, int]:
    """Copy a stream to a descriptor (None: nowhere) while hashing; digest and size. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if fd is not None:
            write_all(fd, chunk)
    return digest.hexdigest(), size


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # pragma: no cover
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network filesystems cannot
            raise
    finally:
        os.close(fd)


def publish_new(temp: Temp, final: Path, mutex: Path) -> bool:
    """Give a written temporary file its name, durably; False if that name is taken. Raises OSError.

    `mutex` is a lock file; it stands in where the filesystem has no hard links.
    """
    os.fsync(temp.fd)
    try:
        os.link(temp.path, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with locks.held(mutex):
            if final.exists():
                return False
            temp.path.rename(final)
    sync_folder(final.parent)
    return True


def replace(final: Path, data: bytes) -> None:
    """Write a file atomically, whatever it was before. Raises OSError."""
    with temp_file(final.parent) as temp:
        write_all(temp.fd, data)
        os.fsync(temp.fd)
        temp.path.replace(final)
    sync_folder(final.parent)


def put_folder(new: Path, destination: Path) -> None:
    """Rename a folder onto another; what was there is gone, or stands at `new` for the caller to remove.

    On Linux a reader finds the old folder or the new one at any moment; elsewhere there is a moment without either.

    Raises:
        StoreError: a file is in the way.
        OSError: as `rename` does.
    """
    aside = []  # should we die in here, the next sweep of the parent removes them
    try:
        for _ in range(_TRIES):  # another process may do the same
            try:
                new.rename(destination)
                return
            except NotADirectoryError as error:
                raise StoreError(f"{destination} is in the way: a folder is to be written there") from error
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            if _exchange(new, destination):
                return
            aside.append(destination.with_name(new_temp_name()))
            with suppress(FileNotFoundError):
                destination.rename(aside[-1])
    finally:
        for old in aside:
            remove_tree(old)
    raise StoreError(f"cannot replace {destination}: other processes keep writing it")


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step; False where the system cannot, or where one of them is gone."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    done = libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    return bool(done == 0)
