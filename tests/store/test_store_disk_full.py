from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeconv.errors import DiskFull, StoreError
from edgeconv.store import Store, os_error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_clear_sentence(code):
    error = os_error(OSError(code, os.strerror(code), "/cache/v1/blobs/.tmp"), Path("/cache/v1"))
    assert isinstance(error, DiskFull)
    assert error.exit_code == 31
    assert "/cache/v1" in error.message
    assert "\n" not in error.message
    assert "edgeconv cache gc --max-size" in error.hint
    assert "--cache-dir" in error.hint


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_other_errors_are_store_errors_with_a_path(code):
    error = os_error(OSError(code, os.strerror(code), "/cache/v1/blobs"), Path("/cache/v1"))
    assert type(error) is StoreError
    assert "/cache/v1/blobs" in error.message


@pytest.mark.parametrize("what", ["file", "tree"])
def test_publishing_beyond_the_kernels_limit_is_disk_full_and_leaves_no_half_file(store, root, tmp_path, child, what):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "small").write_bytes(b"x" * 10)
    (tmp_path / "tree" / "weights").write_bytes(bytes(3_000_000))
    path = tmp_path / "tree" / ("weights" if what == "file" else "")
    said = child("publish_limited", path, 2_000_000).communicate(timeout=30)[0].splitlines()
    assert said[0] == "DiskFull"
    assert str(root) in said[1]
    assert "--cache-dir" in said[2]
    assert store.find("a" * 64) is None
    assert not [path for path in root.rglob("*") if "tmp" in path.name]
    assert store.verify() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_the_kernels_own_enospc_is_disk_full(tmp_path):
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    assert isinstance(os_error(caught.value, tmp_path), DiskFull)


def test_a_cache_that_cannot_be_is_a_store_error(tmp_path, key):
    (tmp_path / "file").write_text("not a folder")
    store = Store(tmp_path / "file")
    (tmp_path / "x").write_text("x")
    calls = [
        lambda: store.publish(key(1), tmp_path / "x", {}),
        lambda: store.put_note("a", "b", 1),
        lambda: store.pin(key(1)),
        lambda: store.lock(key(1)).__enter__(),
        lambda: store.workdir().__enter__(),
        lambda: store.find(key(1)),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=str(tmp_path / "file")):
            call()


@pytest.fixture
def open_folder():
    """A folder that the user `nobody` can reach too, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def without_write_permission(root):
    """Root may write anywhere, so it becomes nobody for the while."""
    folders = [path for path in (root, *root.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)
        for folder in folders:
            folder.chmod(0o755)


def test_a_read_only_cache_can_be_read_and_says_so_when_it_is_to_be_written(open_folder, key):
    store, built = Store(open_folder / "cache"), open_folder / "built"
    built.write_bytes(b"content")
    record = store.publish(key(1), built, {})
    damaged = open_folder / "cache" / "v1" / "records" / f"{key(2)}.json"
    damaged.write_text("{")
    with without_write_permission(open_folder / "cache"):
        assert store.find(key(1)) == record
        assert store.read(record.blob) == b"content"
        assert store.find(key(2)) is None
        assert [problem.kind for problem in store.verify()] == ["broken-record"]
        for write in (lambda: store.publish(key(3), built, {}), lambda: store.put_note("a", "b", 1)):
            with pytest.raises(StoreError, match=r"cannot use .*cache/v1.*: Permission denied"):
                write()
    assert damaged.exists()
