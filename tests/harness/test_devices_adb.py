"""An attached Android device, played by a stand-in `adb`: the protocol, and one sentence for all that stands in the way."""

from __future__ import annotations

import json
import os

import jsonschema
import numpy as np
import onnx
import pytest
from android_fakes import Phone, runner, script
from onnx import TensorProto, helper

from edgeconv.errors import DeviceMissing, DeviceRefused, MeasurementError, UsageError
from edgeconv.harness import devices
from edgeconv.harness.devices import android
from edgeconv.rewrite import flatbuffer
from edgeconv.stage import Job, to_payload
from edgeconv.stages import SavedModel, Tflite
from edgeconv.worker import Worker
from tests.rewrite.helpers import model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small convolution as a .tflite."""
    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, ["y"], {"w": weight}, opset=13)
    return converted(proto, tmp_path_factory.mktemp("conv"))


def converted(proto, folder):
    onnx.save(proto, folder / "net.onnx")
    with Worker() as worker:
        for stage, source, target in (
            (SavedModel(), "net.onnx", "saved"),
            (Tflite(mode="float32"), "saved", "net.tflite"),
        ):
            (folder / f"{target}-scratch").mkdir()
            job = Job(folder / source, folder / target, folder / f"{target}-scratch")
            worker.run("edgeconv.stage:execute_payload", to_payload(stage, job))
    return folder / "net.tflite"


@pytest.fixture
def phone(tmp_path):
    return Phone(tmp_path)


@pytest.fixture
def measure(file, phone, monkeypatch, tmp_path):
    """Measure the file on the phone as it is played now."""

    def measure(device="adb", **options):
        monkeypatch.setenv("PATH", f"{phone.place()}{os.pathsep}{os.environ['PATH']}")
        given = {"cooldown": 0.0, "repeats": 2, **options}
        if "runner" not in given:
            given["runner"] = runner(tmp_path)
        return devices.measure(device, devices.Order(file, **given))

    return measure


def test_push_run_pull_compare_and_clean_up(measure, phone):
    record = measure()
    assert record.equality.verdict == "equal"
    assert record.facts["product_model"] == "Phone"
    assert record.facts["battery"] == {"level": 80, "powered_by": ["USB"]}
    latency = record.latency
    assert len(latency.blocks) == 2
    assert [block.thermal_before for block in latency.blocks] == [0, 0]
    assert 0 < latency.p50_ms <= max(block.max_ms for block in latency.blocks)
    assert latency.memory_mb == 2.25
    assert [row["name"] for row in record.inputs] == ["x"]
    assert record.inputs[0]["source"] == "dtype: standard normal"
    assert record.outputs[0]["shape"] == [1, 8, 8, 16]
    timed = [command[-1] for command in phone.asked() if "--max_secs" in command[-1]]
    assert all("--input_layer_value_files=" in command for command in timed)  # what was compared is what is timed
    assert latency.blocks[0].runs == 50  # not the warm-up's
    assert not latency.blocks[0].p50_is_mean
    assert phone.left() == []
    verbs = [command[2] for command in phone.asked()[1:]]
    assert verbs.count("pull") == 1
    assert json.loads(json.dumps(record.fields()))["device_notes"]["latency"]["threads"] == 1


def test_least_runs_and_seconds_reach_the_runner_and_a_block_cut_short_is_told(measure, phone, tmp_path):
    measure(min_runs=7, min_seconds=0.25, seconds=60.0)
    timed = [command[-1] for command in phone.asked() if "--max_secs" in command[-1]]
    assert len(timed) == 2
    assert all("--num_runs=7 --min_secs=0.25" in command and "--max_secs=30" in command for command in timed)
    cut = script(tmp_path / "cut", runner(tmp_path).read_text().replace('int(flags["num_runs"])', "6"))
    assert "ended after 6 runs of 50" in measure(runner=cut).latency.reason


def test_a_second_file_that_the_device_refuses_leaves_the_firsts_record(cli, file, phone, tmp_path):
    from scripts.selftest_models import conv_chain

    large = conv_chain(tmp_path / "large.tflite", 1, size=8, channels=256)
    phone.free_kb = 16_000
    environment = {"PATH": f"{phone.place()}{os.pathsep}{os.environ['PATH']}"}
    flags = (
        "-d",
        "adb",
        "--runner",
        str(runner(tmp_path)),
        "--repeats",
        "1",
        "--cooldown",
        "0",
        "--json",
        "--html",
        "x.html",
    )
    said = cli("bench", str(file), str(large), *flags, env=environment)
    assert said.code == 37
    first, second = json.loads(said.out)["results"]
    assert first["device_notes"]["latency"]["p50_ms"] > 0
    assert second["error"]["error"] == "DeviceRefused"
    assert "error in large.tflite" in said.err
    page = (tmp_path / "x.html").read_text()
    assert "Latency on the device" in page
    assert "not to be trusted: one block shows no spread" in page
    (kept,) = (tmp_path / "benchmarks").iterdir()
    assert kept.name == f"net-{first['sha256'][:8]}.litert.adb.json"
    assert json.loads(kept.read_text()) == first


@pytest.mark.slow
@pytest.mark.slice
def test_heat_and_power_saving_are_told(measure, phone):
    phone.heat, phone.saving = 2, 1
    record = measure()
    assert "hot" in record.latency.reason
    assert not record.latency.trusted
    assert record.latency.blocks[0].thermal_after == 2
    assert any("saves power" in warning for warning in record.warnings)
    phone.heat = None
    assert measure().latency.blocks[0].thermal_before is None


@pytest.mark.slow
def test_a_runner_that_writes_no_outputs_is_told_and_still_timed(measure, tmp_path):
    record = measure(runner=runner(tmp_path, writes=False))
    assert record.equality is None
    assert "outputs were not compared" in record.warnings[0]
    assert record.inputs[0]["source"] == "drawn by benchmark_model"
    assert record.latency.p50_ms > 0


@pytest.mark.slow
def test_a_runner_found_on_the_device_is_used(measure, phone):
    phone.place()
    runner(phone.folder / "device/data/local/tmp")
    assert measure(runner=None).latency.p50_ms > 0
    assert phone.left() == ["benchmark_model"]  # the user's own stays


def test_token_ids_stay_within_the_vocabulary_on_a_device_too(tmp_path):
    table = np.ones((50, 8), np.float32)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    proto = model(nodes, {"ids": (TensorProto.INT64, [1, 16])}, ["y"], {"table": table}, opset=13)
    path = converted(proto, tmp_path)
    net = flatbuffer.read(path)
    (graph,) = net.subgraphs
    graph.operators = [op for op in graph.operators if flatbuffer.op_name(net, op) == "GATHER"]
    graph.operators[0].inputs = [graph.operators[0].inputs[0], graph.inputs[0]]  # without what wraps negative ids
    flatbuffer.write(net, path)
    payload = {"runtime": "litert", "artifact": str(path), "inputs": None}
    payload |= {"inputs_to": str(tmp_path / "in.npz"), "outputs_to": str(tmp_path / "out.npz")}
    with Worker() as worker:
        (ids,) = worker.run("edgeconv.harness.devices.host:outputs", payload)["inputs"]
    assert (ids["low"], ids["high"]) == (0, 49)


REFUSALS = [
    ({"devices": {}}, "adb", DeviceMissing, "adb sees no device"),
    ({}, "adb:OTHER", DeviceMissing, "adb sees no device 'OTHER'"),
    ({"devices": {"A": "device", "B": "device"}}, "adb", DeviceRefused, "adb sees 2 devices: A, B"),
    ({"devices": {"A": "unauthorized"}}, "adb", DeviceRefused, "the device A has not allowed this computer"),
    ({"devices": {"A": "offline"}}, "adb", DeviceRefused, "the device A is offline"),
    ({"devices": {"A": "no permissions (user in plugdev)"}}, "adb", DeviceRefused, "may not be opened by this user"),
    ({"devices": {"A": "rescue"}}, "adb", DeviceRefused, "is in the state 'rescue'"),
    ({"full": True}, "adb", DeviceRefused, "the device PHONE1 is full"),
    ({"free_kb": 1}, "adb", DeviceRefused, "has 0 MB free"),
    ({"gone_at": "push"}, "adb", DeviceMissing, "the device PHONE1 went away"),
    ({"gone_at": "shell"}, "adb", DeviceMissing, "the device PHONE1 went away"),
]


@pytest.mark.parametrize(("played", "device", "kind", "told"), REFUSALS)
def test_what_stands_in_the_way_is_one_sentence_with_a_hint(measure, phone, played, device, kind, told):
    for name, value in played.items():
        setattr(phone, name, value)
    with pytest.raises(kind, match=told) as caught:
        measure(device)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert phone.left() == []


@pytest.mark.slow
def test_one_of_several_by_its_serial(measure, phone):
    phone.devices = {"A": "device", "B": "unauthorized"}
    assert measure("adb:A").device == "adb:A"


def test_no_adb(file, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    with pytest.raises(DeviceMissing, match="there is no adb here"):
        devices.measure("adb", devices.Order(file))


def test_adb_of_the_sdk(file, phone, monkeypatch, tmp_path):
    programs = phone.place()
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk" / "platform-tools").symlink_to(programs)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    from edgeconv.harness.devices import adb

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert adb.connect("").serial == "PHONE1"


def test_no_runner_or_one_of_another_processor(measure, tmp_path):
    with pytest.raises(DeviceMissing, match="no benchmark_model for the device") as caught:
        measure(runner=None)
    assert "arm64-v8a" in caught.value.hint
    with pytest.raises(UsageError, match="there is no runner"):
        measure(runner=tmp_path / "none")
    foreign = tmp_path / "x86"
    foreign.write_bytes(b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little"))
    with pytest.raises(UsageError, match="another processor than the device's"):
        measure(runner=foreign)
    (tmp_path / "text").write_text("hello, no program")
    with pytest.raises(UsageError, match="no program for Android"):
        measure(runner=tmp_path / "text")


def test_a_runner_that_fails_is_an_error_of_its_run(measure, phone, tmp_path):
    with pytest.raises(MeasurementError, match=r"fails on the device \(exit code 4\): ERROR: op version 12"):
        measure(runner=script(tmp_path / "bad", "#!/bin/sh\necho INFO: STARTING\necho ERROR: op version 12\nexit 4\n"))
    with pytest.raises(MeasurementError, match="printed no timings"):
        measure(runner=script(tmp_path / "mute", "#!/bin/sh\nexit 0\n"))
    assert phone.left() == []


def test_a_command_that_hangs_has_its_time(phone):
    from edgeconv.harness.devices.adb import Adb

    adb = Adb(str(phone.place() / "adb"), "PHONE1")
    with pytest.raises(MeasurementError, match=r"PHONE1 gave no answer within 1\.5 s"):
        adb.shell("exec sleep 20", seconds=1.5)
    assert adb.shell("echo said; exit 3") == (3, "said\n")


def test_what_benchmark_model_prints_in_old_and_new_versions():
    tail = (
        "Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3243.58, Inference (avg): 2942.27\n"
    )
    new = (
        "INFO: count=153 first=2761 curr=2885 min=2605 max=18080 avg=3243.58 std=2165 p5=2630 median=2761 p95=5331\n"
        "INFO: count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 p95=3169\n"
    )
    found = android.parse(new + tail, 0, 1, 10)
    assert (found.p50_ms, found.mean_ms, found.runs, found.p50_is_mean) == (2.781, 2.94227, 337, False)
    assert (found.std_ms, found.p5_ms, found.p95_ms, found.warm_up_runs) == (1.19, 2.647, 3.169, 153)
    assert (found.load_ms, found.first_ms, found.min_ms, found.max_ms) == (6.395, 2.761, 2.605, 20.356)
    old = "count=1 curr=3512391\n\ncount=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798\n"
    found = android.parse(old + tail, None, None, 0)
    assert (found.p50_ms, found.p50_is_mean, found.runs) == (2950.34, True, 50)
    assert (found.p5_ms, found.p95_ms, found.warm_up_runs) == (None, None, 1)


def test_blocks_are_pooled_as_far_as_summaries_go(measure, tmp_path):
    from edgeconv.report.bench import BenchRecord, bench_schema

    record = measure()
    about = {"file": "net.tflite", "kind": "tflite", "bytes": 1, "sha256": "0" * 64, "seconds": 1.0}
    data = json.loads(BenchRecord(**about, device="adb", **record.fields()).model_dump_json())
    jsonschema.validate(data, bench_schema())
    latency, blocks = data["latency"], record.latency.blocks
    assert latency["p50_ms"] == record.latency.p50_ms
    assert latency["min_ms"] == min(block.min_ms for block in blocks)
    assert latency["mean_ms"] == pytest.approx(np.mean([block.mean_ms for block in blocks]))
    assert (latency["runs"], latency["warm_up_runs"]) == (100, 2)
    assert {latency[name] for name in ("p90_ms", "p95_ms", "p99_ms", "mad_ms", "ci_low_ms", "ci_high_ms")} == {None}
    assert latency["trust"]["trusted"] == record.latency.trusted
    assert len(latency["trust"]["reasons"]) == len(record.latency.doubts)
    old = script(tmp_path / "old", runner(tmp_path).read_text().replace(" median=", " mode="))
    record = measure(runner=old)
    assert record.fields()["latency"] is None  # means are no median
    assert any("prints no median" in warning for warning in record.warnings)
