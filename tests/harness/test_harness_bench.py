"""A file in its runtime: what is measured, what it is fed, and that whatever happens to it stays its own."""

import json

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeconv.report import bench_list_schema, bench_schema
from scripts.selftest_models import conv_chain

QUICK = ("--min-runs", "5", "--min-seconds", "0")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return conv_chain(tmp_path_factory.mktemp("files") / "net.tflite", 2, size=8, channels=4)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_a_record_holds_phases_latency_and_conditions_and_fits_its_schema(cli, file, tmp_path, runtime):
    said = cli("bench", str(file), "--json", "--html", "page.html", "--runtime", runtime, *QUICK)
    assert said.code == 0, said
    record = json.loads(said.out)
    jsonschema.validate(record, bench_schema())
    assert (record["runtime"], record["kind"], record["bytes"]) == (runtime, "tflite", file.stat().st_size)
    assert record["error"] is None
    latency, phases = record["latency"], record["phases"]
    assert 0 < latency["min_ms"] <= latency["ci_low_ms"] <= latency["p50_ms"] <= latency["ci_high_ms"]
    assert latency["runs"] == 5
    assert latency["p90_ms"] is None  # five runs support no p90
    assert all(phases[name] > 0 for name in phases)
    assert record["delegates"] == {"XNNPACK": 1}
    assert sum(part["bytes"] for part in record["parts"]) == record["bytes"]
    samples = json.loads((tmp_path / record["samples_file"]).read_text())["samples"]
    assert len(samples) == latency["runs"]
    assert min(samples) / 1e6 == latency["min_ms"]
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert record["confinement"]["threads"] == 1
    assert len(record["confinement"]["cpus"]) == 1


def test_more_invokes_than_are_kept_are_all_timed(cli, tmp_path):
    conv_chain(tmp_path / "net.tflite", 1, size=2, channels=1)
    said = cli(
        "bench",
        "net.tflite",
        "--min-runs",
        "210000",
        "--min-seconds",
        "0",
        "--no-ops",
        "--no-memory",
        "--html",
        "x.html",
    )
    assert said.code == 0, said
    for text in (said.out, (tmp_path / "x.html").read_text()):
        assert "one in 2 of 210,000 timed invokes was kept" in text
    (kept,) = (path for path in (tmp_path / "benchmarks").iterdir() if "samples" not in path.name)
    record = json.loads(kept.read_text())
    latency = record["latency"]
    assert latency["runs"] == 210_000
    assert latency["conditions"]["kept_every"] == 2
    samples = json.loads((tmp_path / record["samples_file"]).read_text())["samples"]
    assert len(samples) == 105_000
    assert min(samples) / 1e6 == latency["min_ms"]


def test_what_is_kept_lies_evenly_over_the_whole_time(monkeypatch):
    import time

    from edgeconv.harness import sampling

    monkeypatch.setattr(sampling, "MOST_SAMPLES", 16)
    calls = []

    def invoke():
        calls.append(None)
        until = time.perf_counter() + len(calls) * 2e-5  # each takes longer than the one before
        while time.perf_counter() < until:
            pass

    found = sampling.sample(invoke, 100, 0.0)
    assert (found.runs, found.every, len(found.wall), len(found.cpu)) == (100, 8, 13, 13)
    assert all(wall >= (8 * number + 1) * 2e4 for number, wall in enumerate(found.wall))
    seconds = sampling.sample(lambda: None, 1, 0.2)
    assert seconds.runs > 1000
    assert len(seconds.wall) <= 16


def test_the_terminal_names_the_method_however_few_the_ops(cli, file):
    said = cli("bench", str(file), "--no-memory", *QUICK)
    assert said.code == 0, said
    (told,) = [line for line in said.out.splitlines() if "in all kernels" in line]
    assert "profiler" in told
    assert " runs, " in told


def test_what_is_no_model_is_refused_in_one_sentence(cli, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.tflite").write_bytes(b"something else")
    cli.refuses("bench", "none.tflite", code=2, says="there is no file none.tflite")
    cli.refuses("bench", "net.py", code=2, says="no model that edgeconv can measure")
    cli.refuses("bench", "folder", code=2, says="no SavedModel")
    cli.refuses("bench", "x.tflite", code=11, says="identifier is not TFL3")


def test_wrong_choices_are_refused_in_one_sentence(cli, file, tmp_path):
    name = str(file)
    cli.refuses("bench", name, "--runtime", "onnxruntime", code=2, says="onnxruntime does not take tflite files")
    cli.refuses("bench", name, "--runtime", "snpe", code=2, says="there is no runtime 'snpe'")
    cli.refuses("bench", name, "--cpus", "first", code=2, says="cannot read the processors")
    cli.refuses("bench", name, "--cpus", "4000", code=2, says="may not run on the processors 4000")
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.float32))
    cli.refuses(
        "bench", name, "--inputs", "x.npy", code=10, says="is float32[1, 2], the file takes float32[1, 8, 8, 4]"
    )
    np.savez(tmp_path / "x.npz", other=np.zeros(1))
    cli.refuses("bench", name, "--inputs", "x.npz", code=10, says="has no array 'image'")


def test_one_broken_file_does_not_keep_the_others_from_being_measured(cli, file, tmp_path):
    (tmp_path / "cut.tflite").write_bytes(file.read_bytes()[:500])
    said = cli("bench", "cut.tflite", str(file), "--json", *QUICK)
    assert said.code == 33
    data = json.loads(said.out)
    jsonschema.validate(data, bench_list_schema())
    first, second = data["results"]
    assert first["error"]["error"] == "MeasurementError"
    assert first["latency"] is None
    assert second["latency"]["p50_ms"] > 0


def test_the_weights_that_a_runtime_copies_have_a_row_of_their_own(cli, tmp_path):
    weight = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "wide.onnx"
    )
    record = json.loads(cli("bench", "wide.onnx", "--json", "--no-ops", *QUICK).out)
    rows = {row["what"]: row["bytes"] for row in record["memory"]["rows"]}
    assert rows["weights, copied from the file"] >= weight.nbytes


def test_a_file_that_needs_more_memory_than_it_may_have_is_told_so(cli, tmp_path):
    large = conv_chain(tmp_path / "large.tflite", 1, size=512, channels=8)
    cli.refuses("bench", str(large), "--memory-mb", "2", *QUICK, code=24, says="within 2 MB of memory")
    assert cli("bench", str(large), "--memory-mb", "400", "--nice", "5", *QUICK).code == 0


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_memory_adds_up_and_each_op_has_its_time(cli, tmp_path, runtime):
    """Two convolutions of very different size: the runtime's profiler gives the larger one nearly all the time."""
    path = conv_chain(tmp_path / "net.tflite", 3, size=48, channels=24)
    record = json.loads(cli("bench", str(path), "--json", "--runtime", runtime, *QUICK).out)
    memory, ops = record["memory"], record["ops"]
    assert memory["reason"] is None
    assert sum(row["bytes"] for row in memory["rows"]) == memory["peak_bytes"] > 0
    rest = next(row["bytes"] for row in memory["rows"] if row["what"] == "unexplained")
    assert abs(rest) < max(0.05 * memory["peak_bytes"], 1e6)
    assert memory["arena_bytes"] >= 48 * 48 * 24 * 4
    assert memory["weight_bytes"] == 3 * (24 * 9 * 24 + 24) * 4
    assert ops["reason"] is None
    assert [row["op"] for row in ops["rows"]] == ["CONV_2D"] * 3
    assert all(row["delegate"] == "XNNPACK" and row["ms"] > 0 and row["kernels"] for row in ops["rows"])
    assert [row["output"] for row in ops["rows"]] == ["layers.0", "layers.1", "layers.2"]
    assert sum(row["ms"] for row in ops["rows"]) == pytest.approx(ops["sum_ms"])


def test_onnx_and_ort_files_are_measured_too_and_token_ids_stay_within_the_vocabulary(cli, tmp_path):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    table = numpy_helper.from_array(np.ones((50, 8), np.float32), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["found"]), helper.make_node("Relu", ["found"], ["y"])], "net",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 16]),
         helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 8])], [table],
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "net.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(path), options)
    said = cli("bench", "net.onnx", "net.ort", "--json", *QUICK)
    assert said.code == 0, said
    first, second = json.loads(said.out)["results"]
    ids, mask = first["inputs"]
    assert (ids["low"], ids["high"]) == (0, 49)
    assert (mask["low"], mask["high"]) == (1, 1)
    assert {row["op"] for row in first["ops"]["rows"]} >= {"Gather"}
    assert second["kind"] == "ort"
    assert second["latency"]["p50_ms"] > 0


def test_a_manifest_beside_the_file_says_what_the_inputs_hold(cli, file, tmp_path):
    (tmp_path / "net.tflite").write_bytes(file.read_bytes())
    entry = {"name": "image", "shape": [1, 8, 8, 4], "dtype": "float32", "range": [0.0, 0.5]}
    for name, wanted in (("net.tflite", ("manifest", 0.5)), ("other.tflite", ("dtype: standard normal", None))):
        (tmp_path / "manifest.json").write_text(json.dumps({"file": name, "inputs": [entry]}))
        record = json.loads(cli("bench", "net.tflite", "--json", "--no-memory", "--no-ops", *QUICK).out)
        assert (record["inputs"][0]["source"], record["inputs"][0]["high"]) == wanted
        assert record["memory"] is record["ops"] is None


def test_a_targets_harness_says_how_to_measure_and_flags_win(cli, file, tmp_path):
    (tmp_path / "targets").mkdir()
    harness = 'runtimes = ["tflite-runtime"]\nthreads = 2\ncores = 1\nniceness = 3\nmemory_mb = 300'
    (tmp_path / "targets" / "phone.toml").write_text(
        f'stages = ["onnx", "saved_model", "tflite"]\n[harness]\n{harness}\n'
    )
    quick = (*QUICK, "--json", "--no-ops", "--no-memory", "--target", "phone")
    record = json.loads(cli("bench", str(file), *quick, "--nice", "4").out)
    assert record["runtime"] == "tflite-runtime"
    allowed = record["confinement"]
    assert (allowed["threads"], len(allowed["cpus"]), allowed["niceness"], allowed["memory_mb"]) == (2, 1, 4, 300)
