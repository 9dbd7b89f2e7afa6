"""The store's nouns, and the one error that only the store raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeconv.errors import StoreError


class BlobCorrupt(StoreError):
    """A blob is missing or not what its name promises; it is out of the way now, so building again helps."""


@dataclass(frozen=True)
class Blob:
    """What a record points to.

    Attributes:
        digest: of a file its SHA-256; of a tree the SHA-256 of its manifest.
        bytes: size of the content, all files of a tree added up.
        tree: a folder, not a file.
    """

    digest: str
    bytes: int
    tree: bool


@dataclass(frozen=True)
class Record:
    """What a build gave: the key says from what, the blob what came out.

    Attributes:
        key: full SHA-256 in hexadecimal.
        blob: the bytes that were built.
        meta: plain data of the builder.
        created: unix time in seconds.
    """

    key: str
    blob: Blob
    meta: dict[str, Any]
    created: float


@dataclass(frozen=True)
class Stats:
    """How much the store holds.

    Attributes:
        records: number of readable records.
        blobs: number of blobs, manifests of trees and unreferenced ones included.
        bytes: what all blobs occupy.
        quarantined: number of broken files that were put aside.
        oldest: unix time at which the oldest record was made; None in an empty store.
        newest: the same of the newest.
    """

    records: int
    blobs: int
    bytes: int
    quarantined: int
    oldest: float | None
    newest: float | None


@dataclass(frozen=True)
class Problem:
    """Something that `Store.verify` found.

    Attributes:
        kind: `broken-record`, `dangling-record`, `corrupt-blob`, `broken-note` or `stray-file`.
        path: the file.
        what: one sentence.
    """

    kind: str
    path: str
    what: str


@dataclass(frozen=True)
class GcResult:
    """What `Store.gc` did.

    Attributes:
        records: records removed.
        blobs: blobs removed.
        bytes: bytes freed, quarantine included.
        left: bytes of the blobs that remain.
    """

    records: int
    blobs: int
    bytes: int
    left: int
