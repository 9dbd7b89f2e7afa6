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
        force: measure anew and keep the old record.
    """
    key = key_of(ingredients)
    if not force:
        record = store.find(key)
        if record is not None:
            try:
                return Measured(json.loads(store.read(record.blob)), "cached", 0.0, record.blob)
            except BlobCorrupt:
                pass  # it has been quarantined; measure again
    with store.lock(key):
        record = None if force else store.find(key)
        if record is not None:
            return Measured(json.loads(store.read(record.blob)), "cached", 0.0, record.blob)
        started = time.monotonic()
        result = produce()
        seconds = time.monotonic() - started
        path = folder / f"{key}.json"
        path.write_text(json.dumps(result, sort_keys=True))
        record = store.publish(key, path, {"kind": "measurement", "ingredients": ingredients})
    return Measured(result, "measured", seconds, record.blob)
