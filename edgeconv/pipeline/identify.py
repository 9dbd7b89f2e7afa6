"""Finds a model's digest: from a snapshot if nothing changed, by loading it in a worker if something did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeconv import fingerprint
from edgeconv.pipeline.pool import Pool
from edgeconv.source import ModelSource, Snapshot
from edgeconv.store import Store

#: So that going back to an earlier version of a model's code is recognized without loading it.
KEPT = 8

_SPACE = "snapshots"


def known(source: ModelSource, store: Store) -> tuple[Snapshot | None, list[str]]:
    """The snapshot that still holds, or None and what changed since the newest. Imports nothing of the model."""
    changed: list[str] = []
    for data in store.note(_SPACE, source.identity()) or []:
        snapshot = Snapshot.from_json(data)
        differs = snapshot.changes()
        if not differs:
            return snapshot, []
        changed = changed or differs
    return None, changed


def identify(
    source: ModelSource, store: Store, pool: Pool, before_loading: Callable[[], None] = lambda: None
) -> tuple[Snapshot, list[str]]:
    """The model's snapshot, loading the model where no kept one holds; and what changed.

    Args:
        source: the model.
        store: where snapshots are kept.
        pool: for the worker that loads.
        before_loading: called if this process is the one that loads.

    Raises:
        SourceError: the model does not load.
    """
    snapshot, changed = known(source, store)
    if snapshot is not None:
        return snapshot, []
    with store.lock(fingerprint.of_data(["identify", source.identity()])):
        snapshot, _ = known(source, store)  # another process may have loaded it meanwhile
        if snapshot is not None:
            return snapshot, changed
        before_loading()
        worker = pool.get("onnx" if source.kind == "onnx" else "torch")
        found: dict[str, Any] = worker.run(
            "edgeconv.source.loading:probe", {"source": source.to_json()}, who="the model"
        )
        snapshot = Snapshot.from_json(found)
        kept = [data for data in store.note(_SPACE, source.identity()) or [] if data["files"] != found["files"]]
        store.put_note(_SPACE, source.identity(), [found, *kept][:KEPT])
    return snapshot, changed


def forget(source: ModelSource, store: Store) -> None:
    """Drop the kept snapshots."""
    store.drop_note(_SPACE, source.identity())
