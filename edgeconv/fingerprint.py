"""Digests: of bytes, of files, of plain data, and the versions of installed distributions.

All digests are full lower-case hexadecimal SHA-256 (FIPS 180-4); nothing here truncates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib import metadata

CHUNK = 1 << 20


def of_bytes(data: bytes) -> str:
    """Digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Digest of a regular file's content. Raises OSError as `open` does."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(data: Any) -> bytes:
    """UTF-8 JSON that is the same for equal data: sorted keys, no blanks, no NaN.

    Raises:
        ValueError: `data` holds NaN or Inf.
        TypeError: `data` is not plain data.
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def of_data(data: Any) -> str:
    """Digest of plain data by its canonical JSON."""
    return of_bytes(canonical_json(data))


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Installed version of each distribution; the empty string where it is not installed."""
    from importlib import metadata

    found = {}
    for name in sorted(set(distributions)):
        try:
            found[name] = _version(metadata.distribution(name))
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _version(distribution: metadata.Distribution) -> str:
    """Its version from the one line that tells it: `.version` parses all headers, which takes ten times as long."""
    header, _, _ = (distribution.read_text("METADATA") or "").partition("\n\n")
    for line in header.splitlines():
        if line.startswith("Version: "):
            return line.removeprefix("Version: ").strip()
    return distribution.version
