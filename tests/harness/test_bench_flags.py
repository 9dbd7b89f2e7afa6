"""What a device cannot hold to is refused, and nothing that was measured is lost to somebody's slip."""

import json
import os
import resource

import numpy as np
import pytest
from android_fakes import script

from scripts.selftest_models import conv_chain

QUICK = ("--min-runs", "5", "--min-seconds", "0", "--no-ops", "--no-memory")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return conv_chain(tmp_path_factory.mktemp("files") / "net.tflite", 2, size=8, channels=4)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Its input has another shape."""
    return conv_chain(tmp_path_factory.mktemp("files") / "other.tflite", 2, size=6, channels=4)


IDLE = [
    ("callgrind", ("--cpus", "0"), "--cpus"),
    ("adb", ("--nice", "3"), "--nice"),
    ("arm:cortex-a76", ("--memory-mb", "100"), "--memory-mb"),
    ("callgrind", ("--min-runs", "50"), "--min-runs"),
    ("arm:cortex-a53", ("--min-seconds", "1"), "--min-seconds"),
    ("adb:X", ("--no-ops",), "--no-ops"),
    ("callgrind", ("--no-memory",), "--no-memory"),
    ("callgrind", ("--runner", "x"), "--runner"),
    ("host", ("--runner", "x"), "--runner"),
    ("host", ("--repeats", "3"), "--repeats"),
    ("host", ("--cooldown", "10"), "--cooldown"),
]


@pytest.mark.parametrize(("device", "flags", "named"), IDLE)
def test_a_flag_that_cannot_apply_is_refused_even_at_its_default_value(cli, file, device, flags, named):
    cli.refuses("bench", str(file), "-d", device, *flags, code=2, says=f"{named} does not apply to --device {device}")


def test_a_variable_is_no_flag(cli, file):
    assert cli("bench", str(file), *QUICK, env={"EDGECONV_ANDROID_RUNNER": "x"}).code == 0


def test_limits_of_a_target_are_refused_on_a_device(cli, file, write):
    write(
        "targets/phone.toml", 'stages = ["onnx", "saved_model", "tflite"]\n[harness]\nniceness = 3\nmemory_mb = 300\n'
    )
    says = "the target 'phone' limits niceness, memory_mb"
    cli.refuses("bench", str(file), "-d", "callgrind", "--target", "phone", code=2, says=says)


def test_a_limit_that_was_given_holds_under_callgrind_as_given(cli, file, tmp_path):
    script(tmp_path / "valgrind", "#!/bin/sh\n[ $1 = --version ] && echo valgrind-3 && exit\nexec sleep 100\n")
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = ("bench", str(file), "-d", "callgrind", "--time-limit", "8")
    cli.refuses(*command, code=33, says="no result under callgrind within 8 s", env=environment)


def test_inputs_that_do_not_fit_one_file_are_told_before_any_is_measured(cli, file, other, tmp_path):
    np.savez(tmp_path / "x.npz", image=np.zeros((1, 8, 8, 4), np.float32))
    said = cli.refuses(
        "bench", str(file), str(other), "--inputs", "x.npz", *QUICK, code=10, says="takes float32[1, 6, 6, 4]"
    )
    assert "other.tflite" in said.err
    assert "latency" not in said.err  # the first was not measured
    (tmp_path / "x.npz").write_bytes(b"no arrays")
    cli.refuses("bench", str(file), str(other), "--inputs", "x.npz", *QUICK, code=2, says="holds no plain arrays")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(cli, file, tmp_path):
    (tmp_path / "text").write_text("")
    for flags, code, says in (
        (("--html", "/proc/x.html"), 30, "cannot use /proc/x.html"),
        (("--html", "."), 2, "is a folder"),
        (("--out", "/proc/x"), 30, "cannot use /proc/x"),
        (("--out", "text"), 2, "text is a file"),
    ):
        said = cli.refuses("bench", str(file), *flags, *QUICK, code=code, says=says)
        assert "latency" not in said.err
        assert flags[0] in said.err.splitlines()[-1]
    assert not (tmp_path / "benchmarks").exists()


def test_a_failed_rerun_leaves_the_good_record(cli, file, tmp_path):
    (tmp_path / "net.tflite").write_bytes(file.read_bytes())
    assert cli("bench", "net.tflite", *QUICK).code == 0
    (good,) = (path for path in (tmp_path / "benchmarks").glob("*.json") if "samples" not in path.name)
    text = good.read_text()
    assert cli("bench", "net.tflite", *QUICK, "--time-limit", "0.1").code == 23
    assert good.read_text() == text
    full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))}  # the record is longer
    cli.refuses("bench", "net.tflite", *QUICK, code=31, **full)
    assert good.read_text() == text
    assert [path.name for path in good.parent.iterdir() if path.name.startswith(".")] == []
    failed = good.with_suffix(".failed.json")
    assert json.loads(failed.read_text())["error"]["error"] == "StageTimeout"
    assert cli("bench", "net.tflite", *QUICK).code == 0
    assert not failed.exists()
