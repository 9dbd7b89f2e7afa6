"""What the cache promises, with the real chain and the command line as processes.

Longer than 400 lines because every promise of the cache stands here beside the others, sharing one warmed cache.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cache_cli import MODEL, ROOT, STEPS, Desk, built, measured, reasons, status

from edgeconv.fingerprint import of_file
from edgeconv.store import Store

HEAVY = {"torch", "tensorflow", "onnxruntime", "onnx", "onnx_tf", "ai_edge_litert", "tflite_runtime"}

SEE_IMPORTS = """\
import atexit, os, sys
folder = os.environ.get("EDGECONV_TEST_IMPORTS")
if folder:
    atexit.register(lambda: open(f"{folder}/{os.getpid()}", "w").write(" ".join(sys.modules)))
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Desk:
    """Converted once; tests that change anything take a copy."""
    desk = Desk(tmp_path_factory.mktemp("warm") / "desk")
    started = time.monotonic()
    report = desk.run()
    desk.seconds = time.monotonic() - started
    assert built(report) == STEPS
    return desk


@pytest.fixture
def desk(warm, tmp_path) -> Desk:
    """A desk of its own with a warm cache. Its model lies at another path than the one that filled the cache."""
    return warm.copy(tmp_path / "desk")


@pytest.fixture
def settled(desk) -> Desk:
    """The same after a run at the new place, which loads the model there and finds everything else in the cache."""
    assert built(desk.run()) == []
    return desk


def imported(desk: Desk, folder: Path, **how: str) -> set[str]:
    """Top-level modules of all processes of a run in which everything is cached."""
    (folder / "site").mkdir()
    (folder / "seen").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SEE_IMPORTS)
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    report = desk.run(PYTHONPATH=path, EDGECONV_TEST_IMPORTS=str(folder / "seen"), **how)
    assert built(report) == measured(report) == []
    processes = list((folder / "seen").iterdir())
    assert len(processes) == 1  # no worker was started
    found = {name.partition(".")[0] for path in processes for name in path.read_text().split()}
    assert {"edgeconv", "typer"} <= found  # it has seen something
    return found


@pytest.mark.slow
@pytest.mark.slice
def test_a_cached_run_of_a_factory_imports_no_converter_and_starts_no_worker(settled, tmp_path):
    assert imported(settled, tmp_path) & HEAVY == set()


@pytest.mark.slow
def test_a_cached_run_of_an_onnx_file_imports_no_converter_and_starts_no_worker(settled, tmp_path):
    record = next(r for r in Store(settled.cache).records() if r.meta["kind"] == "onnx")
    Store(settled.cache).fetch(record.blob, settled.user / "tiny.onnx")
    settled.run(model="tiny.onnx")
    assert imported(settled, tmp_path, model="tiny.onnx") & HEAVY == set()


@pytest.mark.slow
def test_another_folder_finds_all_that_the_first_one_built(desk):
    report = desk.run()
    assert status(report) == dict.fromkeys(STEPS, "cached")
    assert measured(report) == []


@pytest.mark.slow
def test_a_tflite_option_reruns_only_tflite(settled):
    settled.target(min_runtime="2.17.0")
    planned = settled.plan()
    assert {name: step["status"] for name, step in planned.items()} == {
        "onnx": "cached", "quantize": "cached", "saved_model": "cached", "tflite": "build",
    }  # fmt: skip
    assert planned["tflite"]["reason_kind"] == "options_changed"
    assert planned["tflite"]["details"] == {"min_runtime": ["2.14.0", "2.17.0"]}
    assert "2.14.0 → 2.17.0" in planned["tflite"]["reason"]
    report = settled.run()
    assert built(report) == ["tflite"]
    assert reasons(report)["tflite"] == "options_changed"
    settled.target(min_runtime="2.14.0")
    assert built(settled.run()) == []  # going back finds the old results


@pytest.mark.slow
@pytest.mark.slice
def test_a_comment_in_the_model_reruns_the_export_and_stops_there(settled):
    before = settled.tflite()
    settled.model.write_text(MODEL + "# a comment\n")
    planned = settled.plan()
    assert planned["onnx"]["reason_kind"] == "source_changed"
    assert "tiny" in planned["onnx"]["details"]
    assert {planned[name]["status"] for name in STEPS[1:]} == {"unknown"}
    report = settled.run()
    assert built(report) == ["onnx"]
    assert reasons(report) == {"onnx": "source_changed", **dict.fromkeys(STEPS[1:], "cached")}
    assert settled.tflite() == before
    settled.model.write_text(MODEL)
    assert built(settled.run()) == []


@pytest.mark.slow
def test_a_change_of_the_models_code_reruns_what_depends_on_it(settled):
    before = settled.tflite()
    settled.model.write_text(MODEL.replace("torch.relu(", "torch.sigmoid("))
    report = settled.run()
    assert built(report) == STEPS
    assert reasons(report) == {"onnx": "source_changed", **dict.fromkeys(STEPS[1:], "input_changed")}
    assert len(measured(report)) == 5
    assert settled.tflite() != before


@pytest.mark.slow
def test_a_change_of_a_module_that_the_model_imports_or_of_its_weights_reruns_it(settled):
    """The factory's own file stays; what it imports and the checkpoint given on the command line change."""
    torch = pytest.importorskip("torch")
    (settled.user / "parts.py").write_text(MODEL)
    settled.model.write_text("from parts import make\n")
    module = _module_of(MODEL)
    torch.manual_seed(1)
    torch.save(module.Tiny().state_dict(), settled.user / "tiny.pt")
    settled.run("--weights", "tiny.pt")
    assert built(settled.run("--weights", "tiny.pt")) == []
    torch.manual_seed(2)
    torch.save(module.Tiny().state_dict(), settled.user / "tiny.pt")
    planned = settled.plan("--weights", "tiny.pt")
    assert planned["onnx"]["details"] == {"file:tiny.pt": None}
    assert built(settled.run("--weights", "tiny.pt")) == STEPS
    (settled.user / "parts.py").write_text(MODEL + "# a comment\n")
    planned = settled.plan("--weights", "tiny.pt")
    assert planned["onnx"]["details"] == {"parts": None}
    assert built(settled.run("--weights", "tiny.pt")) == ["onnx"]


def _module_of(text: str):
    import types

    module = types.ModuleType("tiny_in_test")
    exec(text, module.__dict__)
    return module


@pytest.mark.slow
@pytest.mark.slice
def test_eight_processes_on_one_cold_cache_build_each_step_once(tmp_path):
    desk = Desk(tmp_path / "desk")
    # half of them publish to the same folder, half to one each
    outs = [desk.user / "artifacts"] * 4 + [tmp_path / f"out{number}" for number in range(4)]
    processes = [desk.start("--out", str(out)) for out in outs]
    answers = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, [err for _, err in answers]
    reports = [json.loads(out) for out, _ in answers]
    assert sorted(name for report in reports for name in built(report)) == sorted(STEPS)
    counts = [name for report in reports for name in measured(report)]
    assert len(counts) == len(set(counts)) == 5
    assert len({(out / "tiny" / "phone" / "tiny.tflite").read_bytes() for out in outs}) == 1
    assert {report["artifact"]["sha256"] for report in reports} == {of_file(desk.result / "tiny.tflite")}
    assert desk.wait_until_alone() == []
    assert desk.strays() == []
    assert desk.ask("cache", "verify") == {"problems": []}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [pytest.param(4, marks=pytest.mark.slice), 50])
def test_killed_at_any_moment_the_next_run_goes_on_and_nothing_strays(warm, tmp_path, kills):
    """Only the main process is killed; its workers must end by themselves."""
    desk = Desk(tmp_path / "desk")
    length, wanted = warm.seconds, warm.tflite()
    chance = random.Random(kills)
    moments = [length * (number + chance.random()) / kills for number in range(kills)]  # the whole length of a run
    for moment in moments:
        desk.forget()
        process = desk.start()
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        where = f"killed after {moment:.2f} s of {length:.2f} s"
        assert desk.wait_until_alone() == [], where
        desk.run()
        assert desk.tflite() == wanted, where
        assert desk.wait_until_alone() == [], where
        assert desk.strays() == [], where
        assert desk.ask("cache", "verify") == {"problems": []}, where


@pytest.mark.slow
def test_killed_in_a_run_in_which_all_is_cached_nothing_strays(settled):
    started = time.monotonic()
    settled.run()
    length = time.monotonic() - started
    chance = random.Random(0)
    for _ in range(12):
        process = settled.start()
        time.sleep(chance.uniform(0.3, 1.0) * length)
        process.kill()
        process.communicate(timeout=60)
    assert built(settled.run()) == []
    assert settled.strays() == []
    assert settled.ask("cache", "verify") == {"problems": []}


@pytest.mark.slow
@pytest.mark.slice
def test_two_folders_two_hash_seeds_two_caches_give_the_same_bytes(warm, tmp_path):
    other = Desk(tmp_path / "another" / "place" / "of the desk")
    other.run(PYTHONHASHSEED="4242")
    warm_again = Desk(tmp_path / "one")
    warm_again.run(PYTHONHASHSEED="1")
    assert other.tflite() == warm_again.tflite() == warm.tflite()
    manifests = [(desk.result / "manifest.json").read_bytes() for desk in (other, warm_again, warm)]
    assert manifests[0] == manifests[1] == manifests[2]


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.slow
def test_any_corrupted_blob_in_turn_gives_the_same_tflite_and_the_bad_one_is_put_aside(settled):
    """A blob that a run does not need is not read, and so only `verify` finds it."""
    wanted = settled.tflite()
    store = Store(settled.cache)
    blobs = settled.cache / "v1" / "blobs"
    pristine = settled.folder / "pristine"
    shutil.copytree(settled.cache, pristine)
    kinds = {record.blob.digest: record.meta["kind"] for record in store.records()}
    for blob in sorted(blobs.iterdir()):
        shutil.rmtree(settled.cache)
        shutil.copytree(pristine, settled.cache)
        corrupt(blob)
        report = settled.run()
        assert settled.tflite() == wanted
        kind = kinds.get(blob.name, "part of a folder")
        steps = {"tflite": ["tflite"], "saved-model": ["saved_model"]}  # a folder's manifest is read for the plan
        assert built(report) == steps.get(kind, []), kind
        assert len(measured(report)) == (1 if kind == "measurement" else 0), kind
        if kind in {"tflite", "saved-model", "measurement"}:
            assert blob.name in {path.stem for path in (settled.cache / "v1" / "quarantine").iterdir()}, kind
            assert _verify_code(blob) == 0
        found = {problem["kind"] for problem in settled.ask("cache", "verify", code=_verify_code(blob))["problems"]}
        assert found <= {"corrupt-blob", "dangling-record"}
        assert settled.ask("cache", "verify") == {"problems": []}
        assert store.verify() == []


def _verify_code(blob: Path) -> int:
    return 0 if not blob.exists() or of_file(blob) == blob.name else 30


@pytest.mark.slow
def test_all_blobs_corrupted_at_once_are_rebuilt_when_an_option_needs_them(settled):
    """The changed [tflite] option reads the SavedModel, and so everything before it is found bad and built again."""
    wanted = settled.tflite()
    for blob in (settled.cache / "v1" / "blobs").iterdir():
        corrupt(blob)
    settled.target(min_runtime="2.17.0")
    report = settled.run()
    assert {step["name"] for step in report["steps"] if step["status"] == "built"} == set(STEPS)
    assert reasons(report) == {**dict.fromkeys(STEPS[:3], "result_lost"), "tflite": "options_changed"}
    settled.target(min_runtime="2.14.0")
    settled.run()
    assert settled.tflite() == wanted
    assert settled.strays() == []


@pytest.mark.slow
def test_plan_says_why_and_the_run_agrees(settled):
    # nothing changed
    assert {step["reason_kind"] for step in settled.plan().values()} == {"cached"}
    # asked for with --force
    assert {step["reason_kind"] for step in settled.plan("--force").values()} == {"forced"}
    assert {step["status"] for step in settled.plan("--force").values()} == {"build"}
    # a result is lost
    record = next(r for r in Store(settled.cache).records() if r.meta["kind"] == "onnx-quantized")
    (settled.cache / "v1" / "blobs" / record.blob.digest).unlink()
    planned = settled.plan()
    assert planned["quantize"]["reason_kind"] == "result_lost"
    assert planned["quantize"]["status"] == "build"
    assert planned["saved_model"]["reason_kind"] == "cascade"
    assert planned["saved_model"]["reason"] == "depends on what quantize makes"
    report = settled.run()
    assert built(report) == ["quantize"]
    assert reasons(report)["quantize"] == "result_lost"
    # another version of a package, as if it had been so the last time
    _pretend_last_version(settled, "saved_model", "tensorflow", "2.0.0")
    planned = settled.plan()
    assert planned["saved_model"]["reason_kind"] == "versions_changed"
    assert list(planned["saved_model"]["details"]) == ["tensorflow"]
    assert planned["saved_model"]["details"]["tensorflow"][0] == "2.0.0"
    assert "tensorflow 2.0.0 → " in planned["saved_model"]["reason"]
    report = settled.run()
    assert built(report) == ["saved_model"]
    assert reasons(report)["saved_model"] == "versions_changed"
    # never run
    settled.forget()
    planned = settled.plan()
    assert planned["onnx"]["reason_kind"] == "first_run"
    assert not (settled.cache / "v1" / "records").exists()  # a plan builds nothing


def _pretend_last_version(desk: Desk, step: str, package: str, version: str) -> None:
    """Take the step's record away, and let the last run have had another version."""
    from edgeconv.store.layout import sealed, unsealed

    for record in list(Store(desk.cache).records()):
        if record.meta["ingredients"]["step"] == step:
            (desk.cache / "v1" / "records" / f"{record.key}.json").unlink()
    for path in (desk.cache / "v1" / "notes").iterdir():
        body = unsealed(path.read_bytes())
        if body["space"] == "last" and body["data"]["step"] == step:
            body["data"]["versions"][package] = version
            path.write_bytes(sealed(body))


@pytest.mark.slow
def test_after_a_failing_stage_the_earlier_ones_are_cached_and_the_next_run_goes_on(tmp_path):
    desk = Desk(tmp_path / "desk")
    desk.target(min_runtime="not a version")
    process = desk.start()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 20
    assert json.loads(out)["stage"] == "tflite"
    kinds = sorted(record.meta["kind"] for record in Store(desk.cache).records())
    assert kinds == ["onnx", "onnx-quantized", "saved-model"]
    assert not (desk.user / "artifacts").exists()
    assert list(desk.tmp.iterdir()) == []
    desk.target()
    report = desk.run()
    assert built(report) == ["tflite"]
    assert reasons(report)["tflite"] == "first_run"
    assert desk.strays() == []


@pytest.mark.slow
def test_after_gc_to_nothing_the_next_run_builds_all_again(settled):
    wanted = settled.tflite()
    assert settled.ask("cache", "gc", "--max-size", "0")["left"] == 0
    assert settled.ask("cache", "stats")["records"] == 0
    assert settled.plan()["onnx"]["reason_kind"] == "result_lost"
    report = settled.run()
    assert built(report) == STEPS
    assert reasons(report) == dict.fromkeys(STEPS, "result_lost")
    assert settled.tflite() == wanted
    assert settled.strays() == []


@pytest.mark.slow
def test_gc_in_a_loop_beside_a_run_breaks_nothing(tmp_path):
    desk = Desk(tmp_path / "desk")
    over = threading.Event()
    rounds = []

    def collect() -> None:
        while not over.is_set():
            rounds.append(Store(desk.cache).gc(max_bytes=0))
            time.sleep(0.02)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        report = desk.run()
        again = desk.run()
    finally:
        over.set()
        thread.join()
    assert sum(result.records for result in rounds) > 0  # it did take things away
    assert report["artifact"]["sha256"] == again["artifact"]["sha256"] == of_file(desk.result / "tiny.tflite")
    assert desk.strays() == []
    assert desk.ask("cache", "verify") == {"problems": []}


@pytest.mark.slow
def test_force_builds_all_again_and_gives_the_same_bytes(settled):
    wanted = settled.tflite()
    report = settled.run("--force")
    assert built(report) == STEPS
    assert len(measured(report)) == 5
    assert settled.tflite() == wanted
    assert [event["event"] for event in Store(settled.cache).events()] == []  # no step gave other bytes


@pytest.mark.slow
def test_remeasure_keeps_the_new_numbers(settled):
    report = settled.run("--remeasure")
    assert built(report) == []
    assert len(measured(report)) == 5
    again = settled.run()
    assert measured(again) == []
    assert again["latency"][0]["p50_ms"] == report["latency"][0]["p50_ms"]


def test_the_baseline_imports_none_of_the_heavy_ones_either():
    """So that the comparison of a cached run with it is fair."""
    code = "import typer, rich, pydantic, sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {name.partition(".")[0] for name in out.split()} & HEAVY == set()
