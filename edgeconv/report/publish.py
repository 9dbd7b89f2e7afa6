"""Puts a folder of results in its place: whole, or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeconv.errors import StoreError
from edgeconv.store import files, os_error


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a new folder beside `folder`, then exchange the two in one step.

    A reader sees the old content or the new, never a mixture; a process that dies midway leaves the old one, and the
    next one that publishes beside it removes what the dead one left.

    Raises:
        StoreError, DiskFull: the place cannot be written.
    """
    if folder.is_symlink():
        folder = folder.resolve()  # the user's link stays
    if folder.exists() and not folder.is_dir():
        raise StoreError(
            f"{folder} is a file, but a folder of results is to be written there",
            hint="move it away, or choose another place with --out",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        files.sweep_temps(folder.parent)
        with files.temp_folder(folder.parent) as staging:
            fill(staging.path)
            _sync(staging.path)
            files.put_folder(staging.path, folder)
            files.sync_folder(folder.parent)
    except OSError as error:
        refused = os_error(error, folder)
        refused.hint = "check its permissions and free space, or choose another place with --out"
        raise refused from error


def write_json(path: Path, data: Any) -> None:
    """Indented JSON with a newline at its end."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
