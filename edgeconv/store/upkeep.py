"""The store's housekeeping: sweep after the dead, verify, gc, stats."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeconv.store import files, locks
from edgeconv.store.blobs import Blobs
from edgeconv.store.layout import Layout, is_digest, unsealed
from edgeconv.store.model import GcResult, Problem, Record, Stats
from edgeconv.store.records import Records

LOCK = ".lock"
_DAY = 86400.0
_NEWBORN = 0.02


def sweep(layout: Layout) -> int:
    """Remove what dead processes left; the number of things. Raises OSError."""
    removed = sum(files.sweep_temps(folder) for folder in (layout.blobs, layout.records, layout.notes))
    for name in files.names(layout.locks):
        removed += _sweep_lock(layout.locks / name)
    for stem in sorted({name.removesuffix(LOCK) for name in files.names(layout.work)}):
        removed += _sweep_work(layout.work / stem)
    return removed


def _sweep_lock(path: Path) -> bool:
    fd = locks.seize(path)
    if fd is None:
        return False
    locks.retire(fd, path)
    return True


def _sweep_work(folder: Path) -> bool:
    lock = folder.with_suffix(LOCK)
    if folder.is_dir() and not lock.exists():  # asked in this order: the lock is there before the folder and after it
        files.remove_tree(folder)
        return True
    fd = locks.seize(lock)
    if fd is None:
        return False
    try:
        files.remove_tree(folder)
    finally:
        locks.retire(fd, lock)
    return True


def events(layout: Layout) -> list[dict[str, Any]]:
    """All events; a line that was cut off is left out. Raises OSError."""
    found = []
    with suppress(FileNotFoundError):
        for line in layout.events.read_bytes().splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    found.append(event)
    return found


def _sizes(folder: Path) -> dict[str, int]:
    """Size of every file by name; temporary ones and those that vanish meanwhile are left out."""
    sizes = {}
    for name in files.names(folder):
        with suppress(FileNotFoundError):
            if not files.is_temp(name):
                sizes[name] = (folder / name).lstat().st_size
    return sizes


def stats(layout: Layout, records: Records) -> Stats:
    """How much the store holds. Raises OSError."""
    times = [record.created for record in records.all()]
    sizes = {name: size for name, size in _sizes(layout.blobs).items() if is_digest(name)}
    return Stats(
        records=len(times),
        blobs=len(sizes),
        bytes=sum(sizes.values()),
        quarantined=len(files.names(layout.quarantine)),
        oldest=min(times, default=None),
        newest=max(times, default=None),
    )


def verify(layout: Layout, records: Records, blobs: Blobs) -> list[Problem]:
    """Hash everything and quarantine what is wrong; see `Store.verify`. Raises OSError."""
    found = list(_verify_blobs(layout, blobs))  # first: a record is dangling once its bad blob is put aside
    found += _verify_records(layout, records)
    found += _verify_notes(layout)
    found += _strays(layout)
    return found


def _verify_blobs(layout: Layout, blobs: Blobs) -> Iterator[Problem]:
    for digest in filter(is_digest, files.names(layout.blobs)):
        path = blobs.path(digest)
        if blobs.bad(digest) and layout.quarantine_if(path, partial(blobs.bad, digest)):
            yield Problem("corrupt-blob", str(path), "its content is not what its name says; quarantined")


def _verify_records(layout: Layout, records: Records) -> Iterator[Problem]:
    for key in records.all_keys():
        path = records.path(key)
        broken = records.is_broken(key)
        if records.is_useless(key) and layout.quarantine_if(path, partial(records.is_useless, key)):
            if broken:
                yield Problem("broken-record", str(path), "it is not a readable record; quarantined")
            else:
                yield Problem("dangling-record", str(path), "its blob is missing or was damaged; quarantined")


def _verify_notes(layout: Layout) -> Iterator[Problem]:
    for name in files.names(layout.notes):
        path = layout.notes / name
        if _is_json(name) and _broken_note(path) and layout.quarantine_if(path, partial(_broken_note, path)):
            yield Problem("broken-note", str(path), "it is not a readable note; quarantined")


def _broken_note(path: Path) -> bool:
    try:
        unsealed(path.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _is_json(name: str) -> bool:
    return name.endswith(".json") and is_digest(name.removesuffix(".json"))


def _strays(layout: Layout) -> Iterator[Problem]:
    known = {path.name for path in (*layout.folders, *layout.singles)}
    belong: dict[Path, Callable[[str], bool]] = {
        layout.base: known.__contains__,
        layout.blobs: is_digest,
        layout.pins: is_digest,
        layout.records: _is_json,
        layout.notes: _is_json,
    }
    for folder, belongs in belong.items():
        for name in files.names(folder):
            if not belongs(name) and not (files.is_temp(name) and _owned(folder / name, folder / name)):
                yield Problem("stray-file", str(folder / name), "nobody owns it")
    for folder in (layout.locks, layout.work):
        for name in files.names(folder):
            if not _owned(folder / name, (folder / name).with_suffix(LOCK)):
                yield Problem("stray-file", str(folder / name), "its process is dead; a sweep removes it")


def _owned(path: Path, lock: Path) -> bool:
    """Whether a live process holds the lock of `path`, or took `path` away meanwhile."""
    for pause in (_NEWBORN, 0.0):  # twice: it may be between making the file and locking it
        fd = locks.seize(lock)
        if fd is None:
            return lock.exists() or not path.exists()
        locks.release(fd)
        time.sleep(pause)
    return False


@dataclass(frozen=True)
class Keep:
    """What a gc keeps: see `Store.gc`."""

    pins: set[str]
    max_bytes: int | None
    max_age_days: float | None


class _Plan:
    """Which records a gc keeps: what they occupy, counting a blob that several share once."""

    def __init__(self, records: Records, blobs: Blobs) -> None:
        self.parts: dict[str, dict[str, int]] = {}
        self.used: dict[str, float] = {}
        self.doomed: list[str] = []
        self.references: Counter[str] = Counter()
        self.size = 0
        for key in records.all_keys():
            record: Record | None = None
            with suppress(ValueError):
                record = records.peek(key)
            parts = blobs.parts(record.blob) if record is not None and blobs.present(record.blob) else None
            if parts is None:
                self.doomed.append(key)
                continue
            self.parts[key] = parts
            self.used[key] = records.path(key).stat().st_mtime_ns / 1e9
            for digest, size in parts.items():
                self.size += 0 if self.references[digest] else size
                self.references[digest] += 1

    def drop(self, key: str) -> None:
        """Let a record go."""
        self.doomed.append(key)
        for digest, size in self.parts.pop(key).items():
            self.references[digest] -= 1
            self.size -= 0 if self.references[digest] else size


def gc(
    layout: Layout,
    records: Records,
    blobs: Blobs,
    keep: Keep,
) -> GcResult:
    """Collect, alone in the store; see `Store.gc`. Raises OSError."""
    plan = _Plan(records, blobs)
    oldest_first = sorted((key for key in plan.parts if key not in keep.pins), key=plan.used.__getitem__)
    for key in oldest_first:
        too_old = keep.max_age_days is not None and time.time() - plan.used[key] > keep.max_age_days * _DAY
        too_much = keep.max_bytes is not None and plan.size > keep.max_bytes
        if too_old or too_much:
            plan.drop(key)
    for key in plan.doomed:
        records.path(key).unlink(missing_ok=True)
    if plan.doomed:
        files.sync_folder(layout.records)  # a record must be gone for good before what it points to
    freed = removed = left = 0
    for name, size in _sizes(layout.blobs).items():
        if plan.references[name]:
            left += size
        elif is_digest(name):
            blobs.path(name).unlink(missing_ok=True)
            removed, freed = removed + 1, freed + size
    for name, size in _sizes(layout.quarantine).items():
        files.remove(layout.quarantine / name)
        freed += size
    return GcResult(records=len(plan.doomed), blobs=removed, bytes=freed, left=left)
