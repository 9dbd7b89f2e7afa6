"""The store: from a key to a record, from a record to bytes. It knows nothing of models."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeconv.errors import StoreError
from edgeconv.fingerprint import canonical_json, of_data
from edgeconv.store import files, locks, upkeep
from edgeconv.store.blobs import Blobs
from edgeconv.store.layout import Layout, checked_key, sealed, unsealed
from edgeconv.store.model import Blob, GcResult, Problem, Record, Stats
from edgeconv.store.records import Records


class Store:
    """Action cache and content-addressed blobs below one folder, for any number of processes at once.

    Everything lies below `root / "v1"`; nothing is made before the first write. Any method raises StoreError if the
    folder cannot be used and DiskFull if it cannot grow.

    Args:
        root: the cache folder.
        locking: with False `lock` does nothing, which costs double work and nothing else.
    """

    def __init__(self, root: Path, *, locking: bool = True) -> None:
        self.root = root
        self._locking = locking
        self._layout = Layout(root.absolute())
        self._blobs = Blobs(self._layout)
        self._records = Records(self._layout, self._blobs)

    def find(self, key: str) -> Record | None:
        """The record of a key, if all it points to is there in the right size; counts as a use.

        A broken record is quarantined. Content is verified by `fetch` and `read`, not here.
        """
        checked_key(key)
        with files.guard(self._layout.base):
            record = self._records.valid(key)
            if record is not None:
                self._records.touch(key)
            return record

    def fetch(self, blob: Blob, destination: Path) -> None:
        """Copy a file or tree out; `destination` appears whole and verified or not at all.

        A file or folder that it replaces must be of the same sort. Missing parents are made.

        Raises:
            BlobCorrupt: missing or damaged; what is damaged is quarantined, so building again helps.
            DiskFull: no space for the copy.
            StoreError: the destination cannot be written.
        """
        destination = destination.absolute()
        with files.guard(destination.parent):
            self._blobs.fetch(blob, destination)

    def read(self, blob: Blob) -> bytes:
        """The verified bytes of a file.

        Raises:
            BlobCorrupt: missing or damaged, as in `fetch`.
            StoreError: the blob is a folder.
        """
        if blob.tree:
            raise StoreError(f"the blob {blob.digest} is a folder, not a file")
        with files.guard(self._layout.base):
            return self._blobs.read(blob.digest)

    def blob_of(self, path: Path) -> Blob:
        """Which blob a file or folder would be; stores nothing. Raises StoreError as `publish` does."""
        with files.guard(path):
            return self._blobs.add(path, keep=False)

    def publish(self, key: str, path: Path, meta: dict[str, Any]) -> Record:
        """Store what was built; the record that counts, which is another's if that was published first.

        Args:
            key: what it was built from.
            path: the file or folder, which is copied.
            meta: plain data to keep with it.

        Raises:
            StoreError: `path` is absent, or holds symlinks or special files.
            TypeError: `meta` is not plain data.
            ValueError: `meta` holds NaN or Inf.
        """
        checked_key(key)
        plain = json.loads(canonical_json(meta))
        with files.guard(self._layout.base), self._layout.publishing():
            winner = self._records.valid(key)
            if winner is not None:
                blob = self._blobs.add(path, keep=False)
            else:
                blob = self._blobs.add(path)
                winner = self._records.add(Record(key, blob, plain, time.time()))
            self._records.touch(key)
            if winner.blob != blob:
                self._layout.log("nondeterminism", key=key, kept=winner.blob.digest, dropped=blob.digest)
            return winner

    def forget(self, key: str) -> None:
        """Drop the record of a key, so that the next `publish` counts; what it pointed to stays until `gc`."""
        checked_key(key)
        with files.guard(self._layout.base), self._layout.publishing():
            self._records.remove(key)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Wait until nobody else builds that key. It saves double work; nothing is wrong without it. Not reentrant."""
        if not self._locking:
            yield
            return
        with files.guard(self._layout.base):
            path = self._layout.make(self._layout.locks) / f"{checked_key(key)}.lock"
        with self._passing(path):
            yield

    @contextmanager
    def workdir(self) -> Iterator[Path]:
        """A scratch folder on the store's filesystem, gone at the end, or by `sweep` if we die."""
        with files.guard(self._layout.base):
            path = self._layout.make(self._layout.work) / os.urandom(12).hex()
        # The lock's file is there before the folder and after it, so a folder without one has no owner.
        with self._passing(path.with_suffix(upkeep.LOCK)):
            try:
                with files.guard(self._layout.base):
                    path.mkdir()
                yield path
            finally:
                files.remove_tree(path)

    @contextmanager
    def _passing(self, path: Path) -> Iterator[None]:
        """Hold the lock of a file that goes with its holder; an OSError of the body is not ours to translate."""
        with files.guard(self._layout.base):
            fd = locks.acquire(path)
        try:
            yield
        finally:
            with files.guard(self._layout.base):
                locks.retire(fd, path)

    def sweep(self) -> int:
        """Remove temporary files, work folders and locks that dead processes left; their number."""
        with files.guard(self._layout.base):
            return upkeep.sweep(self._layout)

    def note(self, space: str, name: str) -> Any | None:
        """What `put_note` kept last; None if nothing, or if it is broken."""
        try:
            with files.guard(self._layout.base):
                body = unsealed(self._note_path(space, name).read_bytes())
        except ValueError:
            return None
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        same = isinstance(body, dict) and (body.get("space"), body.get("name")) == (space, name)
        return body.get("data") if same else None

    def put_note(self, space: str, name: str, data: Any) -> None:
        """Keep a small thing under a name of any form, instead of what was there.

        Raises:
            TypeError: it is not plain data.
            ValueError: it holds NaN or Inf.
        """
        text = sealed(json.loads(canonical_json({"space": space, "name": name, "data": data})))
        with files.guard(self._layout.base):
            self._layout.make(self._layout.notes)
            files.replace(self._note_path(space, name), text)

    def drop_note(self, space: str, name: str) -> None:
        """Forget what `put_note` kept; nothing happens if there is nothing."""
        with files.guard(self._layout.base):
            self._note_path(space, name).unlink(missing_ok=True)

    def _note_path(self, space: str, name: str) -> Path:
        return self._layout.notes / f"{of_data([space, name])}.json"

    def stats(self) -> Stats:
        """How much the store holds."""
        with files.guard(self._layout.base):
            return upkeep.stats(self._layout, self._records)

    def verify(self) -> list[Problem]:
        """Hash everything; what is wrong. Broken things are quarantined, stray files are left alone."""
        with files.guard(self._layout.base):
            return upkeep.verify(self._layout, self._records, self._blobs)

    def gc(self, max_bytes: int | None = None, max_age_days: float | None = None) -> GcResult:
        """Drop records that were not used for long, then blobs to which no record points, and the quarantine.

        Args:
            max_bytes: what all referenced blobs may occupy; the least recently used records go until it fits.
            max_age_days: records not used for so long go.
        """
        with files.guard(self._layout.base):
            upkeep.sweep(self._layout)
            with self._layout.collecting():
                keep = upkeep.Keep(self.pins(), max_bytes, max_age_days)
                return upkeep.gc(self._layout, self._records, self._blobs, keep)

    def pin(self, key: str) -> None:
        """Keep the record of that key through any `gc`, there or yet to come."""
        checked_key(key)
        with files.guard(self._layout.base):
            (self._layout.make(self._layout.pins) / key).touch()

    def unpin(self, key: str) -> None:
        """Take a pin off, if there is one."""
        checked_key(key)
        with files.guard(self._layout.base):
            (self._layout.pins / key).unlink(missing_ok=True)

    def pins(self) -> set[str]:
        """All pinned keys."""
        with files.guard(self._layout.base):
            return set(files.names(self._layout.pins))

    def records(self) -> Iterator[Record]:
        """All readable records by key; does not count as a use."""
        with files.guard(self._layout.base):
            yield from self._records.all()

    def resolve(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`."""
        with files.guard(self._layout.base):
            return [key for key in self._records.all_keys() if key.startswith(prefix)]

    def events(self) -> list[dict[str, Any]]:
        """What was logged: builds that gave other bytes for the same key."""
        with files.guard(self._layout.base):
            return upkeep.events(self._layout)
