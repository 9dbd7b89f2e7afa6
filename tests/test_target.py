from __future__ import annotations

import pytest

from edgeconv import target as targets
from edgeconv.errors import TargetError

GOOD = """\
summary = "mine"
stages = ["onnx", "quantize", "saved_model", "tflite"]

[tflite]
min_runtime = "2.14.0"

[harness]
seeds = 2

[acceptance]
min_snr_db = { tflite = 20 }
"""


def refused(write, text: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        targets.parse(write("mine.toml", text))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_good_target(write):
    found = targets.parse(write("mine.toml", GOOD))
    assert (found.name, found.summary, found.harness.seeds) == ("mine", "mine", 2)
    assert found.stages == ("onnx", "quantize", "saved_model", "tflite")
    assert found.options["tflite"] == {"min_runtime": "2.14.0"}
    assert found.options["onnx"] == {}


def test_the_users_own_target_comes_first(write, tmp_path):
    write("targets/android.toml", GOOD)
    assert targets.load("android", tmp_path).summary == "mine"
    assert targets.load("android-float", tmp_path).path.parent != tmp_path / "targets"
    assert targets.load("targets/android.toml", tmp_path).summary == "mine"


def test_an_unknown_target_names_near_ones(tmp_path):
    with pytest.raises(TargetError, match="no target 'andriod'") as caught:
        targets.load("andriod", tmp_path)
    assert "android or android-float" in caught.value.hint
    with pytest.raises(TargetError, match="no target 'zzz'") as caught:
        targets.load("zzz", tmp_path)
    assert "there are: android, android-float" in caught.value.hint
    with pytest.raises(TargetError, match=r"no target file .*gone\.toml"):
        targets.load("gone.toml", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "says", "hint"),
    [
        ("seeds = 2", "seed = 2", 8, "harness.seed: unknown option", "'seeds'"),
        ("seeds = 2", "seeds = 0", 8, "greater than or equal to 1, got 0", ""),
        ("seeds = 2", 'seeds = "many"', 8, "valid integer", ""),
        ("seeds = 2", 'runtimes = ["onnx"]', 8, "'litert' or 'tflite-runtime', got 'onnx'", ""),
        ("[harness]", "[harnes]", 7, "not in `stages`", "'harness'"),
        ("[tflite]", "[tflit]", 4, "[tflit] configures a stage that is not in `stages`", "'tflite'"),
        ('summary = "mine"', "sumary = 1", 1, "unknown 'sumary'", "'summary'"),
        ("min_snr_db = ", "min_snr_bd = ", 11, "acceptance.min_snr_bd: unknown option", "'min_snr_db'"),
        ("{ tflite = 20 }", "{ tflit = 20 }", 11, "no stage 'tflit'", "'tflite'"),
        ("{ tflite = 20 }", '{ tflite = "much" }', 11, "valid number", ""),
        ("min_snr_db = { tflite = 20 }", "max_bytes = 0", 11, "greater than 0", ""),
        ('"onnx", "quantize", "saved_model", "tflite"]', "3]", 2, "list of stage names", ""),
        ("seeds = 2", 'runtimes = ["litert"]\n[acceptance.max_p50_ms]\ntflite-runtime = 3', 10, "no runtime", "litert"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, old, new, line, says, hint):
    text = GOOD.replace(old, new)
    if "[acceptance.max_p50_ms]" in text:
        text = text.partition("\n[acceptance]\n")[0]
    error = refused(write, text)
    assert f"mine.toml, line {line}: " in error.message
    assert says in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "`stages` must be a list"),
        ("stages = []", "`stages` must be a list"),
        ('stages = ["onnx"]\nonnx = 3', "line 2: 'onnx' must be a section"),
        ('stages = ["onnx"]\nharness = 3', "line 2: harness: must be a section"),
        ('stages = ["onnx"]\nsummary = 3', "line 2: summary"),
        ("stages = [", "no valid TOML"),
    ],
)
def test_misshapen_files(write, text, says):
    assert says in refused(write, text).message
