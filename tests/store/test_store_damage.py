from __future__ import annotations

import pytest

from edgeconv.errors import StoreError
from edgeconv.fingerprint import of_bytes
from edgeconv.store import Blob, BlobCorrupt
from edgeconv.store.layout import Layout


def damage(path, data=None):
    """Flip a byte, so that the size stays right; or write `data`."""
    path.chmod(0o644)
    old = path.read_bytes()
    path.write_bytes(bytes([old[0] ^ 1]) + old[1:] if data is None else data)


@pytest.fixture
def blobs(root):
    return root / "v1" / "blobs"


def quarantined(root):
    return list((root / "v1" / "quarantine").iterdir())


@pytest.mark.parametrize("how", ["read", "fetch"])
def test_a_damaged_file_is_quarantined_and_built_anew(store, root, blobs, key, put, tmp_path, how):
    record = put(key(1), b"content")
    damage(blobs / record.blob.digest)
    assert store.find(key(1)) == record  # stat does not see it
    with pytest.raises(BlobCorrupt, match="damaged"):
        store.read(record.blob) if how == "read" else store.fetch(record.blob, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(quarantined(root)) == 1
    assert store.find(key(1)) is None
    with pytest.raises(BlobCorrupt, match="missing"):
        store.read(record.blob)
    assert put(key(1), b"content").blob == record.blob
    assert store.read(record.blob) == b"content"
    assert store.verify() == []


@pytest.mark.parametrize("part", ["manifest", "file"])
def test_a_damaged_part_of_a_tree(store, root, blobs, key, tree, tmp_path, part):
    record = store.publish(key(1), tree, {})
    digest = record.blob.digest if part == "manifest" else of_bytes(b"weights" * 1000)
    damage(blobs / digest)
    with pytest.raises(BlobCorrupt):
        store.fetch(record.blob, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(quarantined(root)) == 1
    assert store.find(key(1)) is None
    assert store.publish(key(1), tree, {}).blob == record.blob
    store.fetch(record.blob, tmp_path / "out")


@pytest.mark.parametrize("part", ["manifest", "file"])
@pytest.mark.parametrize("how", ["missing", "short"])
def test_find_sees_a_missing_or_short_part_of_a_tree(store, blobs, key, tree, part, how):
    record = store.publish(key(1), tree, {})
    path = blobs / (record.blob.digest if part == "manifest" else of_bytes(b"graph" * 1000))
    if how == "missing":
        path.unlink()
    else:
        damage(path, b"[]")
    assert store.find(key(1)) is None
    assert store.publish(key(1), tree, {}).blob == record.blob
    assert store.find(key(1)) is not None
    assert store.verify() == []


def test_a_torn_blob_is_replaced_at_publish(store, root, blobs, key, put):
    blobs.mkdir(parents=True)
    (blobs / of_bytes(b"content")).write_bytes(b"con")
    record = put(key(1), b"content")
    assert store.read(record.blob) == b"content"
    assert [path.read_bytes() for path in quarantined(root)] == [b"con"]


def test_a_damaged_blob_of_the_right_size_is_not_adopted(store, blobs, key, put):
    blobs.mkdir(parents=True)
    (blobs / of_bytes(b"content")).write_bytes(b"tnetnoc")
    assert store.read(put(key(1), b"content").blob) == b"content"


def test_a_folder_or_link_in_a_blobs_place_is_replaced(store, blobs, key, put, tmp_path):
    (blobs / of_bytes(b"one")).mkdir(parents=True)
    (blobs / of_bytes(b"two")).symlink_to(tmp_path)
    assert store.read(put(key(1), b"one").blob) == b"one"
    assert store.read(put(key(2), b"two").blob) == b"two"
    store.gc()
    assert store.stats().quarantined == 0


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_truncated_record_is_quarantined(store, root, key, put, cut):
    record = put(key(1), b"content")
    path = root / "v1" / "records" / f"{key(1)}.json"
    path.write_bytes(path.read_bytes()[:cut])
    assert store.find(key(1)) is None
    assert not path.exists()
    assert len(quarantined(root)) == 1
    assert put(key(1), b"content").blob == record.blob
    assert store.verify() == []


def test_a_record_that_was_tampered_with_or_moved_is_not_believed(store, root, key, put):
    put(key(1), b"content")
    path = root / "v1" / "records" / f"{key(1)}.json"
    text = path.read_text()
    path.write_text(text.replace('"bytes":7', '"bytes":8'))
    assert store.find(key(1)) is None
    (root / "v1" / "records" / f"{key(2)}.json").write_text(text)
    assert store.find(key(2)) is None
    assert store.stats().quarantined == 2


def test_a_record_whose_blob_is_gone_gives_way_to_other_bytes(store, blobs, key, put):
    record = put(key(1), b"first")
    (blobs / record.blob.digest).unlink()
    assert put(key(1), b"second").blob.digest == of_bytes(b"second")
    assert store.find(key(1)).blob.digest == of_bytes(b"second")
    assert store.events() == []
    assert store.verify() == []


def test_verify_names_each_problem_once_and_leaves_a_clean_store(store, root, blobs, key, put, tree):
    put(key("good"), b"good")
    shared = put(key("bad 1"), b"shared")
    put(key("bad 2"), b"shared")
    damage(blobs / shared.blob.digest)
    store.publish(key("tree"), tree, {})
    (blobs / of_bytes(b"graph" * 1000)).unlink()
    put(key("broken"), b"good")
    broken = root / "v1" / "records" / f"{key('broken')}.json"
    broken.write_text("{}")
    store.put_note("a", "b", 1)
    next((root / "v1" / "notes").iterdir()).write_text("[")
    strays = [root / "v1" / "odd", blobs / "odd", root / "v1" / "records" / "odd.json", root / "v1" / "pins" / "odd"]
    store.pin(key("good"))
    for path in strays:
        path.write_text("")
    found = store.verify()
    assert sorted((problem.kind, problem.path) for problem in found) == sorted(
        [("corrupt-blob", str(blobs / shared.blob.digest)), ("broken-record", str(broken))]
        + [("dangling-record", str(root / f"v1/records/{key(name)}.json")) for name in ("bad 1", "bad 2", "tree")]
        + [("broken-note", next(problem.path for problem in found if problem.kind == "broken-note"))]
        + [("stray-file", str(path)) for path in strays]
    )
    for path in strays:
        path.unlink()
    assert store.verify() == []
    assert [record.key for record in store.records()] == [key("good")]


def test_a_blob_that_is_no_manifest_is_not_a_tree(store, key, put, tmp_path):
    for number, text in enumerate([b"{}", b"[[1]]", b'[["../x","' + b"a" * 64 + b'",1,false]]', b"junk"]):
        digest = put(key(number), text).blob.digest
        with pytest.raises(BlobCorrupt, match="no manifest"):
            store.fetch(Blob(digest, 1, tree=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_replaced_since_it_was_seen_bad_is_not_quarantined(root, blobs, store, key, put):
    record = put(key(1), b"content")
    assert not Layout(root).quarantine_if(blobs / record.blob.digest, lambda: False)
    assert store.read(record.blob) == b"content"


def test_blob_corrupt_is_a_store_error():
    assert issubclass(BlobCorrupt, StoreError)
