"""Every reason that a plan can give, and that the run which follows gives the same."""

from __future__ import annotations

import json

import fake_chain
import pytest
from fake_chain import Bench, Pack, Shelf, Spell, Twice

from edgeconv import fingerprint
from edgeconv.errors import TargetError
from edgeconv.pipeline import Reason, keys
from edgeconv.pipeline.plan import plan, why

ALL = ["spell", "twice", "shelf", "pack"]
CACHED = dict.fromkeys(ALL, ("cached", "cached"))


@pytest.fixture
def bench(tmp_path) -> Bench:
    made = Bench(tmp_path / "bench")
    made.run()
    return made


def test_a_model_that_was_never_seen_runs_for_the_first_time_and_the_plan_builds_nothing(tmp_path):
    bench = Bench(tmp_path / "bench")
    assert bench.plan() == {"spell": ("build", "first_run"), **dict.fromkeys(ALL[1:], ("unknown", "cascade"))}
    assert not (bench.folder / "cache").exists()
    assert bench.run() == dict.fromkeys(ALL, ("built", "first_run"))
    assert bench.calls == ["probe", "Spell", "Twice", "Shelf", "Pack"]


def test_when_nothing_changed_all_is_cached_and_no_worker_is_asked_for(bench):
    assert bench.plan() == CACHED
    assert bench.run() == CACHED
    assert bench.calls == []
    assert bench.pool._workers == {}


def test_an_option_changed_names_it_with_both_values(bench):
    bench.stages = (Spell(), Twice(), Shelf(), Pack(wrap="[]"))
    wanted = {**CACHED, "pack": ("build", "options_changed")}
    assert bench.plan() == wanted
    assert bench.reason("pack").details == {"wrap": ["<>", "[]"]}
    assert bench.reason("pack").text() == "option changed: wrap <> → []"
    assert bench.run() == {**CACHED, "pack": ("built", "options_changed")}
    assert bench.text.startswith("[")


def test_an_option_changed_in_the_middle_leaves_open_what_comes_after(bench):
    bench.stages = (Spell(), Twice(times=3), Shelf(), Pack())
    assert bench.plan() == {
        "spell": ("cached", "cached"),
        "twice": ("build", "options_changed"),
        "shelf": ("unknown", "cascade"),
        "pack": ("unknown", "cascade"),
    }
    assert bench.reason("twice").details == {"times": [2, 3]}  # not `words`, a tuple that the store keeps as a list
    assert bench.reason("shelf").text() == "depends on what twice makes"
    assert bench.run() == {
        "spell": ("cached", "cached"),
        "twice": ("built", "options_changed"),
        "shelf": ("built", "input_changed"),
        "pack": ("built", "input_changed"),
    }
    bench.stages = (Spell(), Twice(), Shelf(), Pack())
    assert bench.run() == CACHED


def test_a_tuple_option_changed_shows_both(bench):
    bench.stages = (Spell(), Twice(words=("and",)), Shelf(), Pack())
    assert bench.reason("twice").details == {"words": [["and", "so"], ["and"]]}


def test_a_version_changed_names_the_package_with_both_versions(bench, monkeypatch):
    real = fingerprint.versions
    monkeypatch.setattr(
        fingerprint, "versions", lambda names: {**real(names), **{n: "9.9" for n in names if n == "numpy"}}
    )
    now = real(["numpy"])["numpy"]
    assert bench.plan()["spell"] == ("build", "versions_changed")
    assert bench.reason("spell").details == {"numpy": [now, "9.9"]}
    assert bench.reason("spell").text() == f"version changed: numpy {now} → 9.9"
    # the bytes come out the same, so each step's own version is its reason, one after the other
    assert bench.run() == dict.fromkeys(ALL, ("built", "versions_changed"))


def test_a_package_that_was_not_there_is_shown_as_none():
    assert Reason("versions_changed", {"onnx": ["", "1.2"]}).text() == "version changed: onnx none → 1.2"


def test_a_model_changed_names_the_file(bench):
    bench.model.write_text("another model\n")
    assert bench.plan() == {"spell": ("build", "source_changed"), **dict.fromkeys(ALL[1:], ("unknown", "cascade"))}
    assert bench.reason("spell").text() == "the model changed (model)"
    assert bench.run() == {"spell": ("built", "source_changed"), **dict.fromkeys(ALL[1:], ("built", "input_changed"))}
    assert bench.done[0].reason.details == {"model": None}


def test_a_comment_changed_reruns_the_first_stage_and_stops_there(bench):
    bench.model.write_text("# hello\na model\n")
    assert bench.run() == {**CACHED, "spell": ("built", "source_changed")}
    assert bench.calls == ["probe", "Spell"]


def test_going_back_to_an_earlier_model_loads_nothing(bench):
    bench.model.write_text("another model\n")
    bench.run()
    bench.model.write_text("a model\n")
    assert bench.plan() == CACHED
    assert bench.run() == CACHED
    assert bench.calls == []


def test_a_lost_result_is_called_that(bench):
    bench.blob("onnx-quantized").unlink()
    assert bench.plan() == {
        "spell": ("cached", "cached"),
        "twice": ("build", "result_lost"),
        "shelf": ("unknown", "cascade"),
        "pack": ("unknown", "cascade"),
    }
    assert bench.run() == {**CACHED, "twice": ("built", "result_lost")}


def test_a_lost_part_of_a_folder_is_a_lost_result(bench):
    parts = [path for path in (bench.folder / "cache" / "v1" / "blobs").iterdir() if path.read_bytes() == b"4"]
    parts[0].unlink()
    assert bench.plan()["shelf"] == ("build", "result_lost")
    assert bench.run() == {**CACHED, "shelf": ("built", "result_lost")}


def test_a_stage_of_another_revision_is_called_that(bench, monkeypatch):
    monkeypatch.setattr(fake_chain.Shelf, "edition", "2")
    assert bench.plan()["shelf"] == ("build", "revision_changed")
    assert bench.run() == {**CACHED, "shelf": ("built", "revision_changed")}


def test_another_python_is_called_that(bench, monkeypatch):
    monkeypatch.setattr(keys, "python_version", lambda: "3.99")
    assert bench.plan()["spell"] == ("build", "python_changed")
    assert bench.reason("spell").text().endswith("→ 3.99")
    assert bench.run() == dict.fromkeys(ALL, ("built", "python_changed"))


def test_force_is_said_of_every_step_known_or_not(bench, tmp_path):
    bench.force = True
    assert bench.plan() == dict.fromkeys(ALL, ("build", "forced"))
    assert bench.run() == dict.fromkeys(ALL, ("built", "forced"))
    fresh = Bench(tmp_path / "fresh", force=True)
    assert fresh.plan() == dict.fromkeys(ALL, ("build", "forced"))
    assert fresh.run() == dict.fromkeys(ALL, ("built", "forced"))
    bench.force = False
    assert bench.plan() == CACHED


def test_another_target_shares_what_it_has_in_common(bench):
    bench.target, bench.stages = "card", (Spell(), Twice(), Shelf(), Pack(wrap="()"))
    assert bench.plan() == {**CACHED, "pack": ("build", "first_run")}
    assert bench.run() == {**CACHED, "pack": ("built", "first_run")}
    bench.target, bench.stages = "paper", (Spell(), Twice(), Shelf(), Pack())
    assert bench.plan() == CACHED


def test_the_nearest_cause_comes_first():
    before = {
        "input": "a", "options": {"x": 1}, "versions": {"n": "1"}, "python": "3.10", "calibration": None,
        "revision": "r",
    }  # fmt: skip
    now = {
        "input": "b", "options": {"x": 2}, "versions": {"n": "2"}, "python": "3.11", "calibration": "c",
        "revision": "s",
    }  # fmt: skip
    seen = []
    for part in ("input", "options", "versions", "python", "calibration", "revision"):
        seen.append(why(now, before, [], False).kind)
        before[part] = now[part]
    assert seen == [
        "input_changed", "options_changed", "versions_changed", "python_changed", "calibration_changed",
        "revision_changed",
    ]  # fmt: skip
    assert why(now, before, [], False).kind == "result_lost"
    assert why(now, None, [], False).kind == "first_run"


def test_an_option_that_came_or_went_is_shown(bench):
    before = {"input": "a", "options": {"x": 1}}
    assert why({"input": "a", "options": {"y": 2}}, before, [], False).details == {"x": [1, None], "y": [None, 2]}


def test_a_plan_without_a_known_model_asks_the_store_for_nothing():
    def find(key):
        raise AssertionError("it cannot know a key")

    steps = plan((Spell(), Twice()), None, find, lambda name: None)
    assert [(step.status, step.key) for step in steps] == [("build", None), ("unknown", None)]


def test_ingredients_are_plain_data():
    ingredients = keys.of_stage(Twice(), "d")
    assert json.loads(json.dumps(ingredients)) == ingredients
    measured = keys.of_measurement("m", "r", {"of": ("a", "b")}, ("numpy",))
    assert json.loads(json.dumps(measured)) == measured


@pytest.mark.parametrize(
    "change",
    [
        {"step": "x"}, {"revision": "x"}, {"options": {"x": 1}}, {"versions": {"numpy": "0"}}, {"python": "2.7"},
        {"input": "x"}, {"calibration": "x"},
    ],
)  # fmt: skip
def test_each_ingredient_changes_the_key(change):
    ingredients = keys.of_stage(Twice(), "d")
    assert keys.key_of({**ingredients, **change}) != keys.key_of(ingredients)
    assert len(keys.key_of(ingredients)) == 64


def test_stages_that_do_not_fit_together_are_refused(bench):
    bench.stages = (Spell(), Pack())
    with pytest.raises(TargetError, match="'pack' takes saved-model, but is handed onnx"):
        bench.plan()
