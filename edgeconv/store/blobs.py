"""Content-addressed blobs: files under their digest, and trees as a manifest of such files.

A manifest is the canonical JSON of a list, sorted by path, of `[posix path, sha256, size, executable]`. A folder that
holds nothing stands in it with an empty digest; other folders follow from the paths.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, NoReturn

from edgeconv.errors import StoreError
from edgeconv.fingerprint import canonical_json
from edgeconv.store import files
from edgeconv.store.layout import Layout, is_digest
from edgeconv.store.model import Blob, BlobCorrupt

_TRIES = 16


class Entry(NamedTuple):
    """One line of a manifest; an empty digest means an empty folder."""

    path: str
    digest: str
    bytes: int
    executable: bool


def _entry(item: object) -> Entry:
    if not (isinstance(item, list) and [type(part) for part in item] == [str, str, int, bool]):
        raise ValueError("not a manifest entry")
    entry = Entry(*item)
    path = PurePosixPath(entry.path)
    if (
        path.is_absolute()
        or not path.parts
        or ".." in path.parts
        or not (entry.digest == "" or is_digest(entry.digest))
    ):
        raise ValueError("not a manifest entry")
    return entry


def parse_manifest(data: bytes) -> list[Entry]:
    """The entries of a manifest. Raises ValueError."""
    items = json.loads(data)
    if not isinstance(items, list):
        raise ValueError("not a manifest")
    return [_entry(item) for item in items]


def _walk(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path, bool]]:
    """Files and empty folders of a tree: path in it, path on disk, whether a folder."""
    with os.scandir(folder) as found:
        children = sorted(found, key=lambda child: child.name)
    for child in children:
        name = prefix + child.name
        if not child.is_dir(follow_symlinks=False):
            yield name, Path(child.path), False
            continue
        inside = _walk(Path(child.path), name + "/")
        first = next(inside, None)
        if first is None:
            yield name, Path(child.path), True
        else:
            yield first
            yield from inside


class Blobs:
    """The blobs of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def path(self, digest: str) -> Path:
        """Where a blob of that digest lies, or would."""
        return self._layout.blobs / digest

    def add(self, path: Path, *, keep: bool = True) -> Blob:
        """Store a file or folder; with `keep` off, only say which blob it would be.

        Raises:
            StoreError: symlinks, special files or undecodable names in it.
            OSError: it cannot be read, or the store not written.
        """
        if path.is_symlink() or not path.is_dir():
            entry = self._add_file("", path, keep=keep)
            return Blob(entry.digest, entry.bytes, tree=False)
        entries = [
            Entry(name, "", 0, False) if empty else self._add_file(name, where, keep=keep)
            for name, where, empty in _walk(path)
        ]
        try:
            manifest = canonical_json(sorted(entries))
        except UnicodeEncodeError as error:
            raise StoreError(f"a file name in {path} is not valid UTF-8") from error
        digest, _ = self._take(io.BytesIO(manifest), keep=keep)
        return Blob(digest, sum(entry.bytes for entry in entries), tree=True)

    def _add_file(self, name: str, path: Path, *, keep: bool) -> Entry:
        with files.open_regular(path) as source:
            executable = bool(os.fstat(source.fileno()).st_mode & stat.S_IXUSR)
            digest, size = self._take(source, keep=keep)
        return Entry(name, digest, size, executable)

    def _take(self, source: IO[bytes], *, keep: bool) -> tuple[str, int]:
        if not keep:
            return files.pour(source, None)
        with files.temp_file(self._layout.make(self._layout.blobs)) as temp:
            digest, size = files.pour(source, temp.fd)
            temp.path.chmod(0o444)
            self._settle(temp, digest)
        return digest, size

    def _settle(self, temp: files.Temp, digest: str) -> None:
        """Name the blob, or adopt the one that has the name already, or replace that if it is bad."""
        final = self.path(digest)
        for _ in range(_TRIES):
            if self.sound(digest) or files.publish_new(temp, final, self._layout.mutex):
                return
            self._layout.quarantine_if(final, lambda: self.bad(digest))
        raise StoreError(f"cannot replace the broken blob {final}", hint="remove it, or use another `--cache-dir`")

    def sound(self, digest: str) -> bool:
        """Whether the blob is there and its content is right (hashes it). Raises OSError."""
        return self._hash(digest) == digest

    def bad(self, digest: str) -> bool:
        """Whether the blob is there and its content is wrong (hashes it). Raises OSError."""
        return self._hash(digest) not in (None, digest)

    def _hash(self, digest: str) -> str | None:
        try:
            with files.open_regular(self.path(digest)) as stream:
                return files.pour(stream, None)[0]
        except FileNotFoundError:
            return None
        except StoreError:
            return ""  # a link or a folder in a blob's place

    def parts(self, blob: Blob) -> dict[str, int] | None:
        """Digest and size of all that a blob consists of, a tree's manifest included; None if the manifest is bad.

        Only the manifest is read. Raises OSError.
        """
        if not blob.tree:
            return {blob.digest: blob.bytes}
        with suppress(BlobCorrupt, ValueError):
            manifest = self._read(blob.digest)
            entries = parse_manifest(manifest)
            if sum(entry.bytes for entry in entries) == blob.bytes:
                inside = {entry.digest: entry.bytes for entry in entries if entry.digest}
                return {**inside, blob.digest: len(manifest)}
        return None

    def present(self, blob: Blob) -> bool:
        """Whether all parts are there in the right size (their content is not hashed). Raises OSError."""
        parts = self.parts(blob)
        return parts is not None and all(self._size(digest) == size for digest, size in parts.items())

    def _size(self, digest: str) -> int | None:
        try:
            found = self.path(digest).lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def _read(self, digest: str) -> bytes:
        try:
            with files.open_regular(self.path(digest)) as stream:
                data = stream.read()
        except FileNotFoundError as error:
            raise BlobCorrupt(f"the blob {digest} is missing from {self._layout.blobs}") from error
        except StoreError as error:
            raise BlobCorrupt(error.message) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise BlobCorrupt(f"the blob {self.path(digest)} is damaged")
        return data

    def read(self, digest: str) -> bytes:
        """The bytes of a file or manifest, verified.

        Raises:
            BlobCorrupt: missing or damaged; if damaged it is quarantined.
            OSError: it cannot be read.
        """
        try:
            return self._read(digest)
        except BlobCorrupt as error:
            self._reject(digest, error)

    def _reject(self, digest: str, error: BlobCorrupt) -> NoReturn:
        self._layout.quarantine_if(self.path(digest), lambda: self.bad(digest))
        error.hint = "run again: what depended on it is built anew"
        raise error

    def fetch(self, blob: Blob, destination: Path) -> None:
        """Copy to `destination`, which appears only when it is whole and verified; as `Store.fetch`. Raises OSError."""
        folder = self._layout.make(destination.parent)
        files.sweep_temps(folder)
        if destination.is_dir() != blob.tree and (destination.exists() or destination.is_symlink()):
            raise StoreError(
                f"{destination} is in the way: a {'folder' if blob.tree else 'file'} is to be written there"
            )
        if not blob.tree:
            self._fetch_file(Entry(destination.name, blob.digest, blob.bytes, executable=False), destination)
            return
        try:
            entries = parse_manifest(self.read(blob.digest))
        except ValueError as error:
            raise BlobCorrupt(f"the blob {self.path(blob.digest)} is no manifest of a folder") from error
        with files.temp_folder(folder) as temp:
            for entry in entries:
                target = temp.path / entry.path
                (target.parent if entry.digest else target).mkdir(parents=True, exist_ok=True)
                if entry.digest:
                    self._fetch_file(entry, target)
            files.put_folder(temp.path, destination)

    def _fetch_file(self, entry: Entry, target: Path) -> None:
        with files.temp_file(target.parent, 0o777 if entry.executable else 0o666) as temp:
            try:
                with files.open_regular(self.path(entry.digest)) as source:
                    digest, _ = files.pour(source, temp.fd)
            except FileNotFoundError:
                self._reject(entry.digest, BlobCorrupt(f"the blob {entry.digest} is missing from {self._layout.blobs}"))
            except StoreError as error:
                self._reject(entry.digest, BlobCorrupt(error.message))
            if digest != entry.digest:
                self._reject(entry.digest, BlobCorrupt(f"the blob {self.path(entry.digest)} is damaged"))
            os.fsync(temp.fd)
            temp.path.replace(target)
