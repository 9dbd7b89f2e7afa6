from __future__ import annotations

import os
import time

import pytest


@pytest.fixture
def used(root, key):
    """Say when a record was used last, in days before now."""

    def set_age(name, days):
        then = time.time() - days * 86400
        os.utime(root / "v1" / "records" / f"{key(name)}.json", (then, then))

    return set_age


def left(store):
    return {record.key for record in store.records()}


def test_gc_by_size_drops_the_least_recently_used(store, key, put, used):
    for age, name in enumerate("abcd"):
        put(key(name), name.encode() * 100)
        used(name, 10 - age)
    store.find(key("a"))  # a use
    result = store.gc(max_bytes=250)
    assert left(store) == {key("a"), key("d")}
    assert (result.records, result.blobs, result.bytes, result.left) == (2, 2, 200, 200)
    assert store.stats().bytes == 200
    assert store.verify() == []


def test_reading_through_records_is_no_use(store, key, put, used):
    put(key("a"), b"a")
    used("a", 5)
    list(store.records())
    store.resolve("")
    store.verify()
    assert store.gc(max_age_days=4).records == 1


def test_gc_by_age(store, key, put, used):
    for name, age in [("old", 8), ("older", 9), ("new", 1)]:
        put(key(name), name.encode())
        used(name, age)
    store.pin(key("older"))
    assert store.gc(max_age_days=7).records == 1
    assert left(store) == {key("older"), key("new")}


def test_pins_outlive_gc_and_unpinned_ones_do_not(store, root, key, put, tree):
    put(key("a"), b"a")
    put(key("b"), b"b")
    store.publish(key("t"), tree, {})
    store.pin(key("t"))
    store.pin(key("a"))
    assert store.pins() == {key("t"), key("a")}
    store.gc(max_bytes=0, max_age_days=0)
    assert left(store) == {key("t"), key("a")}
    assert store.find(key("t")) is not None
    store.unpin(key("t"))
    store.unpin(key("t"))
    store.gc(max_bytes=0)
    assert left(store) == {key("a")}
    assert store.stats().bytes == 1


def test_a_blob_that_several_share_counts_once_and_stays_while_one_needs_it(store, key, put, used):
    for name, age in [("a", 3), ("b", 2), ("c", 1)]:
        put(key(name), b"shared" * 100)
        used(name, age)
    assert store.gc(max_bytes=600).records == 0
    store.pin(key("b"))
    assert store.gc(max_age_days=0.5).records == 2
    record = store.find(key("b"))
    assert store.read(record.blob) == b"shared" * 100


def test_trees_share_files_with_others(store, key, put, tree, used, tmp_path):
    put(key("file"), b"weights" * 1000)
    record = store.publish(key("tree"), tree, {})
    used("file", 3)
    store.gc(max_age_days=1)
    assert left(store) == {key("tree")}
    store.fetch(record.blob, tmp_path / "out")
    put(key("file"), b"weights" * 1000)
    used("tree", 3)
    store.gc(max_age_days=1)
    assert left(store) == {key("file")}
    assert store.stats().blobs == 1
    assert store.verify() == []


def test_plain_gc_drops_what_is_of_no_use_and_nothing_else(store, root, key, put):
    kept = put(key("kept"), b"kept")
    gone = put(key("gone"), b"gone")
    broken = put(key("broken"), b"broken")
    store.pin(key("gone"))  # a pin does not keep a dangling record
    (root / "v1" / "blobs" / gone.blob.digest).unlink()
    (root / "v1" / "records" / f"{key('broken')}.json").write_text("")
    result = store.gc()
    assert (result.records, result.blobs, result.left) == (2, 1, 4)
    assert store.find(key("kept")) == kept
    assert not (root / "v1" / "blobs" / broken.blob.digest).exists()
    assert store.verify() == []


def test_gc_empties_the_quarantine(store, root, key, put):
    put(key("a"), b"a")
    (root / "v1" / "records" / f"{key('a')}.json").write_text("x")
    store.find(key("a"))
    assert store.stats().quarantined == 1
    store.gc()
    assert store.stats().quarantined == 0


def test_stats(store, key, put, tree):
    put(key("a"), b"12345")
    store.publish(key("t"), tree, {})
    stats = store.stats()
    created = [record.created for record in store.records()]
    assert (stats.records, stats.oldest, stats.newest) == (2, min(created), max(created))
    assert stats.blobs == 1 + 4 + 1
    assert stats.bytes > 5 + 12000
