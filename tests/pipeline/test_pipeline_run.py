"""Runs over damaged, lost, foreign and failing results; and the pool of workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from fake_chain import Bench, InlinePool, Pack, Shelf, Spell, Twice

from edgeconv.errors import EdgeconvError, StageCrashed, StageError, StageTimeout
from edgeconv.pipeline import Pool, Run, measured
from edgeconv.pipeline.keys import key_of, of_measurement
from edgeconv.store import Store
from edgeconv.worker import Limits

HERE = Path(__file__).parent
ALL = ["spell", "twice", "shelf", "pack"]
CACHED = dict.fromkeys(ALL, ("cached", "cached"))
TEXT = "<A MODELA MODEL4>"


@pytest.fixture
def bench(tmp_path) -> Bench:
    made = Bench(tmp_path / "bench")
    made.run()
    assert made.text == TEXT
    return made


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def quarantined(bench: Bench) -> int:
    return bench.store.stats().quarantined


def test_events_tell_what_happens_in_order(bench):
    bench.stages = (Spell(), Twice(), Shelf(), Pack(wrap="[]"))
    bench.run()
    assert [(event.what, event.step) for event in bench.events] == [
        ("cached", "spell"), ("cached", "twice"), ("cached", "shelf"), ("started", "pack"), ("built", "pack"),
    ]  # fmt: skip
    assert bench.events[3].reason.kind == "options_changed"
    assert bench.events[4].bytes == len(TEXT)
    assert bench.done[-1].peak_bytes == 7


@pytest.mark.parametrize("kind", ["onnx", "onnx-quantized", "saved-model", "tflite"])
def test_one_corrupted_result_is_rebuilt_when_it_is_needed(bench, kind):
    corrupt(bench.blob(kind))
    bench.stages = (Spell(), Twice(times=3), Shelf(), Pack()) if kind == "onnx" else bench.stages
    if kind == "onnx-quantized":
        bench.stages = (Spell(), Twice(), Shelf(throws=True), Pack())
    if kind == "saved-model":
        bench.stages = (Spell(), Twice(), Shelf(), Pack(wrap="[]"))
    outcome = bench.run()
    position = ["onnx", "onnx-quantized", "saved-model", "tflite"].index(kind)
    # a folder's manifest is read while planning, a file's content only when it is fetched; both are then built anew
    assert outcome[ALL[position]] == ("built", "result_lost")
    assert bench.store.verify() == []
    assert quarantined(bench) == 1


def test_all_blobs_corrupted_at_once_are_rebuilt(bench):
    for blob in (bench.folder / "cache" / "v1" / "blobs").iterdir():
        corrupt(blob)
    bench.run()
    assert bench.text == TEXT
    assert bench.done[-1].status == "built"
    assert bench.store.verify() == []


def test_a_rebuilt_input_that_differs_is_what_the_next_step_is_keyed_by(tmp_path):
    """The record of `pack` must not say that it was made from a folder which is gone."""
    bench = Bench(tmp_path / "bench", (Spell(), Twice(), Shelf(throws=True), Pack()))
    bench.run()
    first = bench.record("saved-model").blob.digest
    for blob in (bench.folder / "cache" / "v1" / "blobs").iterdir():
        if len(blob.read_bytes()) == 16:  # the dice
            corrupt(blob)
    bench.stages = (Spell(), Twice(), Shelf(throws=True), Pack(wrap="[]"))
    bench.run()
    assert bench.record("saved-model").blob.digest != first
    packed = [
        r
        for r in bench.store.records()
        if r.meta["kind"] == "tflite" and r.meta["ingredients"]["options"]["wrap"] == "[]"
    ]
    assert [r.meta["ingredients"]["input"] for r in packed] == [bench.record("saved-model").blob.digest]
    assert bench.run() == CACHED


def test_forced_builds_that_give_another_folder_go_on_with_the_stored_one(tmp_path):
    """The first publisher wins, so what follows must be made from the bytes that the record names."""
    bench = Bench(tmp_path / "bench", (Spell(), Twice(), Shelf(throws=True), Pack()))
    bench.run()
    text, digests = bench.text, [done.artifact.digest for done in bench.done]
    bench.force = True
    assert bench.run() == dict.fromkeys(ALL, ("built", "forced"))
    assert bench.text == text
    assert [done.artifact.digest for done in bench.done] == digests
    assert [event["event"] for event in bench.store.events()] == ["nondeterminism"]


@pytest.mark.parametrize(("mishap", "kind"), [("refuses", StageError), ("raises", ZeroDivisionError)])
def test_failures_are_never_stored_and_the_next_run_goes_on_from_there(tmp_path, mishap, kind):
    bench = Bench(tmp_path / "bench", (Spell(), Twice(mishap=mishap), Shelf(), Pack()))
    for _ in range(2):
        with pytest.raises(kind):
            bench.run()
        assert bench.kinds() == ["onnx"]
        assert bench.store.stats().blobs == 1
        assert [done.name for done in bench.done] == ["spell"]
        assert list((bench.folder / "cache" / "v1" / "work").iterdir()) == []
        assert bench.plan()["twice"] == ("build", "first_run")
    bench.stages = (Spell(), Twice(), Shelf(), Pack())
    assert bench.run()["spell"] == ("cached", "cached")
    assert bench.text == TEXT


def test_an_error_names_its_stage(tmp_path):
    bench = Bench(tmp_path / "bench", (Spell(), Twice(mishap="refuses"), Shelf(), Pack()))
    with pytest.raises(StageError) as caught:
        bench.run()
    assert (caught.value.stage, caught.value.message, caught.value.hint) == ("twice", "no", "try yes")


@pytest.mark.parametrize(
    ("mishap", "kind", "seconds"),
    [
        ("raises", StageCrashed, 60),
        ("dies", StageCrashed, 60),
        ("hangs", StageTimeout, 1.5),
        ("refuses", StageError, 60),
    ],
)
def test_in_real_workers_every_mishap_is_a_typed_error_and_nothing_is_stored(
    tmp_path, monkeypatch, mishap, kind, seconds
):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    bench = Bench(tmp_path / "bench")
    bench.run()
    bench.stages = (Spell(), Twice(mishap=mishap), Shelf(), Pack())
    before = bench.store.stats().blobs
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Pool(Limits(seconds=seconds), scratch) as pool, pytest.raises(kind) as caught:
        bench.run(pool)
    assert caught.value.stage == "twice"
    assert isinstance(caught.value, EdgeconvError)
    assert bench.store.stats().blobs == before
    with Pool(Limits(), scratch) as pool:
        bench.stages = (Spell(), Twice(times=5), Shelf(), Pack())
        assert bench.run(pool)["twice"] == ("built", "options_changed")
    assert bench.text.count("A MODEL") == 5


def test_a_workers_temporary_files_go_into_the_runs_own_folder(tmp_path):
    with Pool(Limits(), tmp_path) as pool, pool.fresh() as worker:
        answer = worker.run("tempfile:mkdtemp", "told")  # type: ignore[arg-type]  # a suffix
    assert Path(str(answer)).parent == tmp_path / "tmp"


@dataclass(frozen=True)
class Bind(Pack):
    """The last stage, in a process of its own."""

    worker: ClassVar[str] = "bindery"


def test_a_run_tells_when_no_later_stage_wants_a_worker(bench):
    """Before the stages after it start, so that its memory is free for them; at the end everything leaves anyway."""
    told = []
    bench.stages = (Spell(), Twice(), Shelf(), Bind())
    with bench.store.workdir() as folder:
        run = Run(bench.chain, bench.store, InlinePool(folder), bench.events.append, folder)
        run.leaving = lambda worker: told.append((worker, [done.name for done in run.done]))
        run.carry_out()
    assert told == [("text", ["spell", "twice", "shelf"])]


def test_a_released_worker_leaves_by_itself(tmp_path):
    with Pool(Limits(), tmp_path) as pool:
        process = pool.get("text").run("os:getpgid", 0)  # type: ignore[arg-type]  # of itself
        pool.release("text")
        status, deadline = Path(f"/proc/{process}/stat"), time.monotonic() + 30
        while (
            status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
        ):  # a zombie: only we know it still
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_workers_of_one_name_are_one_and_start_with_all_they_need(tmp_path):
    pool = InlinePool(tmp_path)
    pool.prepare([Spell(), Twice()])
    worker = pool.get("text")
    assert worker is pool.get("text")
    assert worker.started == 1
    pool.release("text")
    assert pool.get("text") is not worker


def test_gc_between_any_two_steps_breaks_nothing(bench):
    """Everything is collected after each event; what is needed again is built again."""

    def collect(event):
        bench.events.append(event)
        bench.store.gc(max_bytes=0)

    for stages in (bench.stages, (Spell(), Twice(times=3), Shelf(), Pack())):
        bench.stages = stages
        with bench.store.workdir() as folder:
            run = Run(bench.chain, bench.store, InlinePool(folder), collect, folder)
            run.carry_out()
            text = run.file_of("pack").path.read_text()
        assert text == TEXT if stages[1] == Twice() else text.count("A MODEL") == 3
    assert bench.store.verify() == []


def test_many_runs_at_once_build_each_step_once(tmp_path):
    """Threads with stores of their own: flock excludes them as it does processes."""
    benches = [Bench(tmp_path / "bench") for _ in range(8)]
    gate, outcomes = threading.Barrier(8), {}

    def go(bench):
        gate.wait()
        outcomes[id(bench)] = bench.run()

    threads = [threading.Thread(target=go, args=(bench,)) for bench in benches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    built = sorted(name for found in outcomes.values() for name, (status, _) in found.items() if status == "built")
    assert built == sorted(ALL)
    assert sorted(call for bench in benches for call in bench.calls) == ["Pack", "Shelf", "Spell", "Twice", "probe"]
    assert {bench.text for bench in benches} == {TEXT}


def test_who_waits_for_another_starts_no_worker(tmp_path):
    """So that eight processes on a cold cache import torch once and not eight times."""
    loading, go_on, prepared = threading.Event(), threading.Event(), []

    class Watched(InlinePool):
        def prepare(self, stages):
            super().prepare(stages)
            prepared.append(self)
            loading.set()
            assert go_on.wait(10)

    def go():
        bench = Bench(tmp_path / "bench")
        with bench.store.workdir() as folder:
            Run(bench.chain, bench.store, Watched(folder), lambda _: None, folder).carry_out()

    threads = [threading.Thread(target=go) for _ in range(4)]
    threads[0].start()
    assert loading.wait(10)
    for thread in threads[1:]:
        thread.start()
    assert not any(thread.join(0.1) or not thread.is_alive() for thread in threads)
    assert len(prepared) == 1
    go_on.set()
    for thread in threads:
        thread.join()


def test_the_last_ingredients_are_written_once(bench, monkeypatch):
    """A run in which nothing changed writes no note: each costs an fsync."""
    monkeypatch.setattr(Store, "put_note", lambda *_: pytest.fail("nothing changed"))
    assert bench.run() == CACHED


INGREDIENTS = of_measurement("clock", "1", {"of": "x"}, ("numpy",))


def test_a_measurement_is_made_once(tmp_path):
    store, made = Store(tmp_path / "cache"), []

    def produce():
        made.append(1)
        return {"ms": 1.5}

    first = measured(store, INGREDIENTS, tmp_path, produce)
    second = measured(store, INGREDIENTS, tmp_path, produce)
    assert (first.status, second.status, second.seconds) == ("measured", "cached", 0.0)
    assert first.result == second.result == {"ms": 1.5}
    assert made == [1]


def test_a_corrupted_measurement_is_measured_again(tmp_path):
    store = Store(tmp_path / "cache")
    first = measured(store, INGREDIENTS, tmp_path, lambda: {"ms": 1.5})
    corrupt(tmp_path / "cache" / "v1" / "blobs" / first.blob.digest)
    again = measured(store, INGREDIENTS, tmp_path, lambda: {"ms": 2.5})
    assert (again.status, again.result) == ("measured", {"ms": 2.5})
    assert measured(store, INGREDIENTS, tmp_path, dict).result == {"ms": 2.5}
    assert store.stats().quarantined == 2  # the damaged number, and the record that pointed to it
    assert store.verify() == []


def test_a_forced_measurement_takes_the_old_ones_place(tmp_path):
    store = Store(tmp_path / "cache")
    measured(store, INGREDIENTS, tmp_path, lambda: {"ms": 1.5})
    forced = measured(store, INGREDIENTS, tmp_path, lambda: {"ms": 2.5}, force=True)
    assert (forced.status, forced.result) == ("measured", {"ms": 2.5})
    assert measured(store, INGREDIENTS, tmp_path, dict).result == {"ms": 2.5}
    assert store.events() == []  # two measurements that differ are no nondeterminism of a build
    store.gc()
    assert store.stats().blobs == 1


def test_a_measurement_that_fails_is_not_stored(tmp_path):
    store = Store(tmp_path / "cache")
    with pytest.raises(StageError):
        measured(store, INGREDIENTS, tmp_path, lambda: (_ for _ in ()).throw(StageError("no")))
    assert store.find(key_of(INGREDIENTS)) is None
    assert store.stats().blobs == 0
    assert measured(store, INGREDIENTS, tmp_path, lambda: {"ms": 1.0}).status == "measured"


def test_planning_imports_nothing_heavy():
    code = (
        "import sys; import edgeconv.pipeline, edgeconv.report, edgeconv.harness, edgeconv.api, edgeconv.stages; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    root = str(HERE.parents[1])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    assert not {"torch", "tensorflow", "onnxruntime", "onnx"} & set(out.split())
