"""Records: one small JSON file per key, sealed by its own checksum."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeconv.errors import StoreError
from edgeconv.store import files
from edgeconv.store.blobs import Blobs
from edgeconv.store.layout import Layout, is_digest, sealed, unsealed
from edgeconv.store.model import Blob, Record

_SUFFIX = ".json"
_TRIES = 16


def _dump(record: Record) -> bytes:
    blob = {"digest": record.blob.digest, "bytes": record.blob.bytes, "tree": record.blob.tree}
    return sealed({"key": record.key, "blob": blob, "meta": record.meta, "created": record.created})


def _parse(data: bytes, key: str) -> Record:
    """Raises ValueError."""
    match unsealed(data):
        case {
            "key": str(named),
            "blob": {"digest": str(digest), "bytes": int(size), "tree": bool(tree)},
            "meta": dict(meta),
            "created": float(created),
        } if named == key and is_digest(digest):
            return Record(key, Blob(digest, size, tree), meta, created)
    raise ValueError("not a record")


class Records:
    """The records of one store."""

    def __init__(self, layout: Layout, blobs: Blobs) -> None:
        self._layout = layout
        self._blobs = blobs

    def path(self, key: str) -> Path:
        """Where the record of that key lies, or would."""
        return self._layout.records / (key + _SUFFIX)

    def all_keys(self) -> list[str]:
        """All keys, sorted. Raises OSError."""
        stems = (name.removesuffix(_SUFFIX) for name in files.names(self._layout.records) if name.endswith(_SUFFIX))
        return [stem for stem in stems if is_digest(stem)]

    def peek(self, key: str) -> Record | None:
        """The record; None if absent. Raises ValueError if it is broken, OSError if unreadable."""
        try:
            data = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        return _parse(data, key)

    def is_broken(self, key: str) -> bool:
        """Whether there is a record that cannot be understood. Raises OSError."""
        try:
            self.peek(key)
        except ValueError:
            return True
        return False

    def is_useless(self, key: str) -> bool:
        """Whether there is a record that is broken, or that points to what is not there. Raises OSError."""
        try:
            record = self.peek(key)
        except ValueError:
            return True
        return record is not None and not self._blobs.present(record.blob)

    def load(self, key: str) -> Record | None:
        """The record; None if absent, or if broken: then it is quarantined. Raises OSError."""
        try:
            return self.peek(key)
        except ValueError:
            self._layout.quarantine_if(self.path(key), lambda: self.is_broken(key))
            return None

    def valid(self, key: str) -> Record | None:
        """The record if its blob is there in the right size. Raises OSError."""
        record = self.load(key)
        return record if record is not None and self._blobs.present(record.blob) else None

    def touch(self, key: str) -> None:
        """Say that the record was of use just now; a read-only store does not learn it."""
        with suppress(OSError):
            os.utime(self.path(key))

    def remove(self, key: str) -> None:
        """Take a record away, if it is there. Raises OSError."""
        self.path(key).unlink(missing_ok=True)

    def add(self, record: Record) -> Record:
        """Publish a record; the one that counts for its key, which may be another's. Raises OSError."""
        final, data = self.path(record.key), _dump(record)
        self._layout.make(self._layout.records)
        for _ in range(_TRIES):
            winner = self.valid(record.key)
            if winner is not None:
                return winner
            if self.is_useless(record.key):
                self._layout.quarantine_if(final, lambda: self.is_useless(record.key))
            with files.temp_file(self._layout.records) as temp:
                files.write_all(temp.fd, data)
                if files.publish_new(temp, final, self._layout.mutex):
                    return record
        raise StoreError(f"cannot replace the broken record {final}", hint="remove it, or use another `--cache-dir`")

    def all(self) -> Iterator[Record]:
        """All readable records by key. Raises OSError."""
        for key in self.all_keys():
            with suppress(ValueError):
                record = self.peek(key)
                if record is not None:
                    yield record
