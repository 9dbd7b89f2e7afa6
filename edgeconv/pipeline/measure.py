"""Keeps measurements in the store beside artifacts: the same inputs, versions and machine give the stored numbers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeconv.pipeline.keys import Ingredients, key_of
from edgeconv.store import Blob, BlobCorrupt, Store


@dataclass(frozen=True)
class Measured:
    """A measurement's result.

    Attributes:
        result: plain data.
        status: "measured" or "cached".
        seconds: of this run.
        blob: the stored bytes.
    """

    result: dict[str, Any]
    status: str
    seconds: float
    blob: Blob


def measured(
    store: Store, ingredients: Ingredients, folder: Path, produce: Callable[[], dict[str, Any]], *, force: bool = False
) -> Measured:
    """The stored result for these ingredients, or what `produce` returns now.

    Args:
        store: where results are kept.
        ingredients: everything that the result depends on.
        folder: scratch folder for the file to publish.
        produce: measures; called at most once.
        force: measure anew; the new result takes the old one's place.
    """
    key = key_of(ingredients)
    found = None if force else _stored(store, key)
    if found is not None:
        return found
    with store.lock(key):
        found = None if force else _stored(store, key)  # another process may have measured it meanwhile
        if found is not None:
            return found
        started = time.monotonic()
        result = produce()
        seconds = time.monotonic() - started
        path = folder / f"{key}.json"
        path.write_text(json.dumps(result, sort_keys=True))
        if force:
            store.forget(key)
        record = store.publish(key, path, {"kind": "measurement", "ingredients": ingredients})
    return Measured(result, "measured", seconds, record.blob)


def _stored(store: Store, key: str) -> Measured | None:
    """The stored result; None if there is none, or if it is damaged (then it is quarantined) or was just collected."""
    record = store.find(key)
    if record is None:
        return None
    try:
        return Measured(json.loads(store.read(record.blob)), "cached", 0.0, record.blob)
    except BlobCorrupt:
        return None
