from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeconv.errors import StoreError
from edgeconv.fingerprint import canonical_json, of_bytes
from edgeconv.store import Blob, Store


def snapshot(folder: Path) -> dict[str, object]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), os.access(path, os.X_OK)) if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_opening_and_asking_makes_nothing(store, root, key):
    assert store.find(key(1)) is None
    assert store.note("space", "name") is None
    assert store.sweep() == 0
    assert store.verify() == []
    assert list(store.records()) == []
    assert store.pins() == set()
    assert store.stats().records == 0
    assert not root.exists()


def test_a_file_comes_back(store, root, key, tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"TFL3" * 100)
    record = store.publish(key(1), tmp_path / "model.tflite", {"seconds": 1.5, "notes": ("a", "b")})
    assert record.blob == Blob(of_bytes(b"TFL3" * 100), 400, tree=False)
    assert record.meta == {"seconds": 1.5, "notes": ["a", "b"]}
    assert store.find(key(1)) == record
    assert store.read(record.blob) == b"TFL3" * 100
    store.fetch(record.blob, tmp_path / "out" / "model.tflite")
    assert (tmp_path / "out" / "model.tflite").read_bytes() == b"TFL3" * 100
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.tflite"]
    assert os.access(tmp_path / "out" / "model.tflite", os.W_OK)
    assert (root / "v1" / "blobs" / record.blob.digest).stat().st_mode & 0o777 == 0o444


def test_a_tree_comes_back_with_empty_folders_and_modes(store, key, tree, tmp_path):
    record = store.publish(key(1), tree, {})
    assert record.blob.tree
    assert record.blob.bytes == sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    assert store.find(key(1)) == record
    store.fetch(record.blob, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)
    assert "assets/none" in snapshot(tmp_path / "out")
    with pytest.raises(StoreError, match="is a folder"):
        store.read(record.blob)


def test_the_digest_of_a_tree_is_that_of_its_manifest(store, key, tmp_path):
    (tmp_path / "t" / "sub").mkdir(parents=True)
    (tmp_path / "t" / "sub" / "b").write_bytes(b"bb")
    (tmp_path / "t" / "a").write_bytes(b"a")
    manifest = canonical_json([["a", of_bytes(b"a"), 1, False], ["sub/b", of_bytes(b"bb"), 2, False]])
    assert store.publish(key(1), tmp_path / "t", {}).blob == Blob(of_bytes(manifest), 3, tree=True)


def test_an_empty_folder_is_a_tree(store, key, tmp_path):
    (tmp_path / "t").mkdir()
    record = store.publish(key(1), tmp_path / "t", {})
    store.fetch(record.blob, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_fetched_tree_replaces_an_older_one(store, key, tree, tmp_path):
    record = store.publish(key(1), tree, {})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    store.fetch(record.blob, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(store, key, put, tree, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="in the way"):
        store.fetch(store.publish(key(1), tree, {}).blob, tmp_path / "file")
    with pytest.raises(StoreError, match="in the way"):
        store.fetch(put(key(2), b"x").blob, tree)
    assert (tmp_path / "file").read_text() == "mine"
    assert (tree / "run.sh").exists()


def test_the_first_publisher_wins_and_the_other_is_logged(store, key, put):
    first = put(key(1), b"first")
    assert put(key(1), b"first") == first
    assert store.events() == []
    assert put(key(1), b"second") == first
    assert store.find(key(1)) == first
    [event] = store.events()
    assert event["event"] == "nondeterminism"
    assert (event["key"], event["kept"], event["dropped"]) == (key(1), first.blob.digest, of_bytes(b"second"))
    assert store.stats().blobs == 1


def test_two_stores_on_one_root_see_each_other(store, root, key, put):
    record = put(key(1), b"x")
    other = Store(root)
    assert other.find(key(1)) == record
    assert list(other.records()) == [record]
    other.gc(max_bytes=0)
    assert store.find(key(1)) is None


def test_equal_content_is_stored_once(store, key, put, tree):
    put(key(1), b"weights" * 1000)
    put(key(2), b"weights" * 1000)
    assert store.stats().blobs == 1
    store.publish(key(3), tree, {})
    assert store.stats().blobs == 1 + 3 + 1  # graph, nothing, run.sh; the manifest


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder link"])
def test_links_and_special_files_are_refused(store, key, tree, kind):
    odd = tree / "variables" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to({"link": tree / "run.sh", "dangling": "nowhere", "folder link": tree / "assets"}[kind])
    with pytest.raises(StoreError, match=r"odd is (a symbolic link|not a regular file)"):
        store.publish(key(1), tree, {})
    assert store.find(key(1)) is None
    assert store.verify() == []


def test_a_missing_file_is_a_store_error_with_its_path(store, key, tmp_path):
    with pytest.raises(StoreError, match="nowhere"):
        store.publish(key(1), tmp_path / "nowhere", {})


@pytest.mark.parametrize("bad", ["", "abc", "../" + "a" * 61, "A" * 64, "a" * 64 + "\n"])
def test_what_is_no_key_is_refused(store, bad, tmp_path):
    for call in (store.find, store.pin, store.unpin, lambda key: store.publish(key, tmp_path, {})):
        with pytest.raises(StoreError, match="is not a key"):
            call(bad)


@pytest.mark.parametrize("meta", [{"x": float("nan")}, {"x": object()}])
def test_meta_that_is_not_plain_is_refused_before_anything_is_written(store, root, key, tree, meta):
    with pytest.raises((ValueError, TypeError)):
        store.publish(key(1), tree, meta)
    assert not root.exists()


def test_resolve_by_prefix(store, key, put):
    keys = sorted(key(number) for number in range(5))
    for each in keys:
        put(each, b"x")
    assert store.resolve("") == keys
    assert store.resolve(keys[2][:12]) == [keys[2]]
    assert store.resolve("zz") == []


def test_notes(store, root):
    store.put_note("source", "a/b:../c\n", {"x": [1, None]})
    store.put_note("source", "other", 1)
    assert store.note("source", "a/b:../c\n") == {"x": [1, None]}
    store.put_note("source", "a/b:../c\n", 2)
    assert store.note("source", "a/b:../c\n") == 2
    assert store.note("elsewhere", "other") is None
    [path] = [path for path in (root / "v1" / "notes").iterdir() if "other" in path.read_text()]
    path.write_text(path.read_text().replace('"data":1', '"data":7'))
    assert store.note("source", "other") is None
    path.write_bytes(b"\xff{")
    assert store.note("source", "other") is None


def test_records_are_json_and_name_their_key(store, root, key, put):
    put(key(1), b"x")
    data = json.loads((root / "v1" / "records" / f"{key(1)}.json").read_text())
    assert data["body"]["key"] == key(1)


def test_without_hard_links_the_first_still_wins(store, root, key, put, tree, monkeypatch):
    def no_link(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_link)
    first = put(key(1), b"first")
    assert put(key(1), b"second") == first
    store.publish(key(2), tree, {})
    assert store.find(key(1)) == first
    assert store.find(key(2)) is not None
    assert store.verify() == []


def test_importing_the_store_is_light():
    heavy = {"filelock", "importlib.metadata", "pydantic", "torch", "numpy", "subprocess", "shutil"}
    code = f"import sys, edgeconv.store; print(sorted({heavy!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # -S: an editable install's own start-up is not ours
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
