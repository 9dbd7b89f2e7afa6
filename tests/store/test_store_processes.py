from __future__ import annotations

import random
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from edgeconv.store import Store

HEX = "[0-9a-f]{64}"
ACCOUNTED = re.compile(
    rf"blobs/{HEX}|(records|notes)/{HEX}\.json|(gc|turn|mutex)\.lock|events\.jsonl|blobs|records|notes|locks|work|quarantine"
)


def go_together(children):
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return [child.communicate(timeout=30)[0].strip() for child in children]


def strays(root: Path) -> list[str]:
    base = root / "v1"
    found = [path.relative_to(base).as_posix() for path in base.rglob("*")]
    return [name for name in found if not ACCOUNTED.fullmatch(name)]


def test_with_a_lock_that_does_nothing_all_get_the_same_bytes(store, root, key, child):
    said = go_together([child("publish_own", key(1), letter) for letter in "abcdefgh"])
    assert len(set(said)) == 1
    letter, by = said[0].split()
    assert letter == by  # the record and the bytes are of one publisher
    assert store.read(store.find(key(1)).blob).decode() == letter * 5000
    assert len(store.events()) == 7
    assert {event["kept"] for event in store.events()} == {store.find(key(1)).blob.digest}
    assert store.verify() == []
    assert strays(root) == []


def test_with_the_lock_exactly_one_builds(root, key, child, tmp_path):
    said = go_together([child("build_once", key(1), tmp_path / "log") for _ in range(8)])
    assert said == ["bytes"] * 8
    assert (tmp_path / "log").read_text() == "built\n"
    assert strays(root) == []


def test_killed_at_any_moment_the_store_stays_whole(store, root, child):
    chance = random.Random(0)
    for batch in range(10):
        children = [child("publish_forever", 3 * batch + number) for number in range(3)]
        for each in children:
            assert each.stdout.readline() == "ready\n"
        for each in children:
            time.sleep(chance.uniform(0.02, 0.15) / 2)
            each.kill()
            each.wait()
    store.sweep()
    assert store.verify() == []
    assert strays(root) == []
    records = list(store.records())
    assert records  # the test did something
    for record in records:
        assert store.find(record.key) == record


def test_sweep_removes_what_the_dead_left_and_nothing_of_the_living(store, root, key, child):
    dead, alive = child("hold", key("dead")), child("hold", key("alive"))
    dead_work, alive_work = (Path(each.stdout.readline().strip()) for each in (dead, alive))
    assert store.sweep() == 0
    assert store.verify() == []
    dead.kill()
    dead.wait()
    for folder in ("blobs", "records", "notes"):
        (root / "v1" / folder).mkdir(exist_ok=True)
        (root / "v1" / folder / (".edgeconv-tmp-" + "0" * 24)).write_text("half")
    assert {problem.kind for problem in store.verify()} == {"stray-file"}
    assert store.sweep() == 5  # a work folder, a lock, three temporary files
    assert not dead_work.exists()
    assert (alive_work / "half").exists()
    alive.communicate("\n", timeout=10)
    assert not alive_work.exists()
    assert strays(root) == []


def test_a_lock_is_free_again_when_its_owner_dies(store, key, child):
    owner = child("hold", key(1))
    owner.stdout.readline()
    owner.kill()
    owner.wait()
    with store.lock(key(1)):
        pass


def test_a_failing_body_gives_lock_and_workdir_back_with_its_own_error(store, root, key):
    with pytest.raises(OSError, match="mine"), store.lock(key(1)), store.workdir() as work:
        (work / "sub").mkdir()
        (work / "sub").chmod(0o500)
        raise OSError("mine")
    assert strays(root) == []


def test_a_workdir_that_its_user_removed_is_fine(store, root):
    with store.workdir() as work:
        shutil.rmtree(work)
    assert strays(root) == []


def test_gc_and_verify_among_publishers_leave_all_records_valid(store, root, child):
    children = [child("publish_forever", number, 1.0) for number in range(4)]
    for each in children:
        each.stdout.readline()
    rounds = 0
    while any(each.poll() is None for each in children):
        store.gc(max_bytes=300_000)
        assert store.verify() == []
        store.sweep()
        rounds += 1
    assert rounds > 3
    assert [each.communicate()[0] for each in children] == ["done\n"] * 4
    assert store.verify() == []
    for record in store.records():
        assert store.find(record.key) == record
    store.gc(max_bytes=0)
    assert store.stats().blobs == 0
    assert strays(root) == []


def test_a_fetch_that_was_killed_is_swept_by_the_next_one(store, key, put, tmp_path):
    record = put(key(1), b"x")
    out = tmp_path / "out"
    half = out / (".edgeconv-tmp-" + "1" * 24)
    half.mkdir(parents=True)
    (half / "part").write_text("half")
    (out / ".edgeconv-tmp-mine").write_text("a user's own")
    store.fetch(record.blob, out / "model")
    assert sorted(path.name for path in out.iterdir()) == [".edgeconv-tmp-mine", "model"]


def test_sweep_in_a_second_store_of_this_process_spares_the_first(store, root, key):
    with store.lock(key(1)), store.workdir() as work:
        assert Store(root).sweep() == 0
        assert work.is_dir()


def test_who_waited_for_a_lock_whose_file_is_gone_still_excludes_others(store, key):
    entered, leave, other_entered = threading.Event(), threading.Event(), threading.Event()

    def waiter():
        with store.lock(key(1)):
            entered.set()
            leave.wait(10)

    def other():
        with store.lock(key(1)):
            other_entered.set()

    threads = [threading.Thread(target=waiter), threading.Thread(target=other)]
    with store.lock(key(1)):
        threads[0].start()
        assert not entered.wait(0.1)  # it waits on the file that we remove now
    assert entered.wait(10)
    threads[1].start()
    assert not other_entered.wait(0.1)
    leave.set()
    assert other_entered.wait(10)
    for thread in threads:
        thread.join()


def test_a_child_of_a_holder_does_not_keep_the_lock(store, key):
    with store.lock(key(1)):
        sleeper = subprocess.Popen(["sleep", "30"])
    try:
        with store.lock(key(1)):
            pass
    finally:
        sleeper.kill()
        sleeper.wait()
