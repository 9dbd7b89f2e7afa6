"""A folder of results is replaced whole or not at all, whatever happens to whoever writes it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from edgeconv.errors import DiskFull, StoreError
from edgeconv.report import publish, write_json
from edgeconv.store import files

ROOT = Path(__file__).parents[2]

#: Publishes pairs of files that agree, one version after another, until it is killed.
WRITER = """
import itertools, sys
from pathlib import Path
from edgeconv.report import publish

folder, first = Path(sys.argv[1]), int(sys.argv[2])

def fill(into):
    (into / "a").write_text(str(version) * 2000)
    (into / "b").write_text(str(version) * 2000)

for version in itertools.count(first):
    publish(folder, fill)
    print(version, flush=True)
"""

#: Reads pairs without pause; ends with a sentence once one does not agree. Says how many it has seen when told to stop.
READER = """
import os, sys, threading

folder, stop = sys.argv[1], threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
seen, gaps = set(), 0
print("ready", flush=True)
while not stop.is_set():
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # one folder, even if another takes its name meanwhile
    except FileNotFoundError:
        sys.exit("there was no folder")
    try:
        texts = []
        for name in ("a", "b"):
            with open(os.open(name, os.O_RDONLY, dir_fd=inside)) as stream:
                texts.append(stream.read())
        if texts[0] != texts[1] or not texts[0]:
            sys.exit(f"a mixture: {texts[0][:20]} and {texts[1][:20]}")
        seen.add(texts[0][:20])
    except FileNotFoundError:
        gaps += 1  # it was replaced, and is being removed
    finally:
        os.close(inside)
print(len(seen), flush=True)
"""


@pytest.fixture
def script():
    """Start a Python text as a process of its own."""
    started: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def start(text: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)], text=True, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill_with(**texts: str):
    def fill(folder: Path) -> None:
        for name, text in texts.items():
            (folder / name).write_text(text)

    return fill


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_parents_are_made_and_only_the_folder_appears(tmp_path):
    publish(tmp_path / "a" / "b" / "c", fill_with(x="1"))
    assert content(tmp_path) == {"a/b/c/x": "1"}
    assert names(tmp_path / "a" / "b") == ["c"]


def test_what_was_there_is_replaced_whole(tmp_path):
    folder = tmp_path / "out"
    publish(folder, fill_with(x="1", old="1"))
    publish(folder, fill_with(x="2"))
    assert content(tmp_path) == {"out/x": "2"}
    assert names(tmp_path) == ["out"]


def test_the_folder_is_as_open_as_the_users_umask_wants(tmp_path):
    before = os.umask(0o027)
    try:
        publish(tmp_path / "out", fill_with(x="1"))
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_an_error_midway_leaves_the_old_and_nothing_else(tmp_path):
    folder = tmp_path / "out"
    publish(folder, fill_with(x="1"))

    def fill(into: Path) -> None:
        (into / "x").write_text("2")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        publish(folder, fill)
    assert content(tmp_path) == {"out/x": "1"}
    assert names(tmp_path) == ["out"]


def test_where_the_system_cannot_exchange_it_is_still_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    folder = tmp_path / "out"
    for version in range(3):
        publish(folder, fill_with(x=str(version)))
    assert content(tmp_path) == {"out/x": "2"}
    assert names(tmp_path) == ["out"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere")
    publish(tmp_path / "out", fill_with(x="1"))
    assert (tmp_path / "out").is_symlink()
    assert content(tmp_path / "elsewhere") == {"x": "1"}
    assert names(tmp_path) == ["elsewhere", "out"]


def test_a_file_in_the_way_is_not_touched(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StoreError, match="is a file") as caught:
        publish(tmp_path / "out", fill_with(x="1"))
    assert "--out" in caught.value.hint
    assert content(tmp_path) == {"out": "mine"}


def test_a_file_in_the_place_of_a_parent_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot use .*file") as caught:
        publish(tmp_path / "file" / "out", fill_with(x="1"))
    assert "--out" in caught.value.hint
    assert content(tmp_path) == {"file": "mine"}


def test_a_place_that_cannot_be_written_is_one_sentence(monkeypatch, tmp_path):
    """As root nothing is read-only, so the system's answer is played."""

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=r"cannot use .*: Permission denied") as caught:
        publish(tmp_path / "deep" / "out", fill_with(x="1"))
    assert "--out" in caught.value.hint
    assert "\n" not in caught.value.message


def test_proc_cannot_be_written_and_says_so():
    with pytest.raises(StoreError, match="cannot use /proc"):
        publish(Path("/proc/edgeconv/out"), fill_with(x="1"))


def test_a_full_disk_is_named_and_leaves_the_old(tmp_path):
    folder = tmp_path / "out"
    publish(folder, fill_with(x="1"))

    def fill(into: Path) -> None:
        (into / "x").write_text("2")
        raise OSError(28, "No space left on device", str(into / "x"))

    with pytest.raises(DiskFull, match="no space is left"):
        publish(folder, fill)
    assert content(tmp_path) == {"out/x": "1"}
    assert names(tmp_path) == ["out"]


def test_what_dead_processes_left_is_swept_and_what_the_living_have_is_not(tmp_path):
    dead = tmp_path / files.new_temp_name()
    dead.mkdir()
    (dead / "half").write_text("x")
    mine = tmp_path / ".edgeconv-tmp-my-own-folder"
    mine.mkdir()
    with files.temp_folder(tmp_path) as alive:
        (alive.path / "half").write_text("x")
        publish(tmp_path / "out", fill_with(x="1"))
        assert names(tmp_path) == sorted([alive.path.name, mine.name, "out"])
        assert (alive.path / "half").exists()
    assert names(tmp_path) == sorted([mine.name, "out"])


def test_many_at_once_all_succeed_and_one_of_them_stands(tmp_path):
    folder, gate, failed = tmp_path / "out", threading.Barrier(8), []

    def go(number: int) -> None:
        gate.wait()
        try:
            for version in range(15):
                publish(folder, fill_with(a=f"{number}.{version}", b=f"{number}.{version}"))
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = content(folder)
    assert found["a"] == found["b"]
    assert names(tmp_path) == ["out"]


def test_a_reader_never_sees_a_mixture_while_writers_are_killed(tmp_path, script):
    folder = tmp_path / "out"
    publish(folder, fill_with(a="start", b="start"))
    reader = script(READER, folder)
    assert reader.stdout.readline() == "ready\n"
    chance = random.Random(0)
    writers = [script(WRITER, folder, 1000 * number) for number in range(1, 9)]
    for writer in writers:
        assert writer.stdout.readline()  # it publishes by now
    for writer in writers:
        time.sleep(chance.uniform(0.02, 0.15))
        writer.kill()
        writer.wait()
    assert reader.poll() is None, reader.stderr.read()
    reader.stdin.write("stop\n")
    reader.stdin.flush()
    out, err = reader.communicate(timeout=30)
    assert err == ""
    assert int(out) > 12  # it has seen many versions
    found = content(folder)
    assert found["a"] == found["b"]
    publish(folder, fill_with(a="end", b="end"))
    assert names(tmp_path) == ["out"]  # what the killed left is swept
    assert content(folder) == {"a": "end", "b": "end"}


def test_json_is_indented_and_keeps_its_letters(tmp_path):
    write_json(tmp_path / "x.json", {"ä": [1.5, None]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"ä": [1.5, None]}
    assert "ä" in text
    assert text.endswith("}\n")
