"""A file in its runtime: what is measured, what it is fed, and that whatever happens to it stays its own."""

import json

import jsonschema
import numpy as np
import pytest

from edgeconv.report import bench_schema
from scripts.selftest_models import conv_chain

QUICK = ("--min-runs", "5", "--min-seconds", "0")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return conv_chain(tmp_path_factory.mktemp("files") / "net.tflite", 2, size=8, channels=4)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_a_record_holds_phases_latency_and_conditions_and_fits_its_schema(cli, file, runtime):
    said = cli("bench", str(file), "--json", "--runtime", runtime, *QUICK)
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
    assert record["confinement"]["threads"] == 1
    assert len(record["confinement"]["cpus"]) == 1


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
    first, second = json.loads(said.out)["results"]
    assert first["error"]["error"] == "MeasurementError"
    assert first["latency"] is None
    assert second["latency"]["p50_ms"] > 0


def test_a_file_that_needs_more_memory_than_it_may_have_is_told_so(cli, tmp_path):
    large = conv_chain(tmp_path / "large.tflite", 1, size=512, channels=8)
    cli.refuses("bench", str(large), "--memory-mb", "2", *QUICK, code=24, says="within 2 MB of memory")
    assert cli("bench", str(large), "--memory-mb", "400", "--nice", "5", *QUICK).code == 0
