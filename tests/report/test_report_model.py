"""The report's schema, the verdict, the manifest, the view."""

import io
import json
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from edgeconv.harness import Proof
from edgeconv.report import SCHEMAS, Report, json_schema
from edgeconv.report.build import checks, error_entry, slow_runtimes
from edgeconv.report.view import render, size
from edgeconv.target import Acceptance

FOLDER = Path(__file__).parents[2] / "edgeconv" / "report" / "schema"


TIMES = {
    "min_ms": 0.9, "mean_ms": 1.1, "p50_ms": 1.0, "p90_ms": 2.0, "p95_ms": None, "p99_ms": None, "mad_ms": 0.1,
    "ci_low_ms": 0.95, "ci_high_ms": 1.05, "runs": 40, "warm_up_runs": 5, "conditions": {},
    "trust": {"trusted": False, "reasons": [{"kind": "host busy", "text": "others had the processor"}]},
    "phases": {"process_start_ms": 1, "import_ms": 1, "load_ms": 1, "prepare_ms": 1, "first_invoke_ms": 1, "warm_up_ms": 1},
}  # fmt: skip


def parity(stage, snr, runtime="litert", nan=0):
    return {
        "stage": stage, "runtime": runtime, "snr_db": snr, "max_abs_error": 0.1, "mean_abs_error": 0.01, "cosine": 0.99,
        "nan": nan, "inf": 0, "samples": 4,
    }  # fmt: skip


def accuracy(stage, value, drop=None, metric="top1"):
    interval = {"ci_low": value - 0.1, "ci_high": value + 0.1, "interval": "wilson"}
    around = {"drop": drop, "drop_ci_low": drop, "drop_ci_high": drop}
    runtime = "torch" if stage == "reference" else "litert"
    return {"stage": stage, "runtime": runtime, "metric": metric, "value": value, "samples": 2, **interval, **around}


def report(**changes):
    data = {
        "model": "net", "target": "android", "verdict": "accepted",
        "artifact": {"path": "artifacts/net/android/net.tflite", "bytes": 10, "sha256": "0" * 64},
        "steps": [{"name": "tflite", "status": "built", "reason": "never built before", "reason_kind": "first_run",
                   "seconds": 1.0, "bytes": 10, "sha256": "0" * 64}],
        "reference": "torch", "parity": [parity("tflite", 40.0)],
        "error_enters_at": {"stage": "tflite", "snr_before_db": 150.0, "snr_after_db": 40.0},
        "accuracy": [accuracy("reference", 0.5), accuracy("tflite", 0.5, 0.0)],
        "latency": [{"stage": "tflite", "runtime": "litert", "threads": 1, **TIMES, "status": "measured"}],
        "acceptance": [], "contract": {"inputs": [], "outputs": []}, "warnings": [], "measurements": [], "host": {},
        "seconds": 2.0,
    }  # fmt: skip
    return Report(**{**data, **changes})


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_schema_file_is_the_models(name):
    assert json.loads((FOLDER / name).read_text()) == SCHEMAS[name]()


def test_a_report_fits_the_schema_and_a_broken_one_does_not():
    data = json.loads(report().model_dump_json())
    jsonschema.validate(data, json_schema())
    data["verdict"] = "perhaps"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema())


def test_each_budget_is_checked_against_its_number():
    proof = Proof(
        parity=[parity("onnx", 120.0), parity("tflite", 30.0), parity("tflite", 10.0, "tflite-runtime")],
        latency=[{"runtime": "litert", "p50_ms": 3.0}],
        accuracy=[
            accuracy("reference", 0.9),
            accuracy("reference", 0.9, metric="top5"),
            accuracy("onnx", 0.5, 0.4),
            accuracy("tflite", 0.8, 0.1),
            accuracy("tflite", 0.2, 0.7, metric="top5"),
        ],
    )
    acceptance = Acceptance(
        min_snr_db={"onnx": 80.0, "tflite": 20.0}, max_bytes=100, max_p50_ms={"litert": 2.5}, max_accuracy_drop=0.05
    )
    rows = {(row.check, row.where): row for row in checks(acceptance, proof, 101)}
    assert rows["SNR", "onnx in litert"].ok
    assert rows["SNR", "tflite in litert"].ok
    assert not rows["SNR", "tflite in tflite-runtime"].ok
    assert not rows["size", "artifact"].ok
    assert not rows["latency p50", "litert"].ok
    assert not rows["accuracy drop", "tflite in litert"].ok
    assert rows["accuracy drop", "tflite in litert"].value == pytest.approx(0.1)  # the first metric's, the last stage's


def test_accuracy_is_shown_by_stage_with_its_intervals():
    from rich.console import Console

    from edgeconv.report.view import render

    rows = [accuracy("reference", 0.5), accuracy("onnx", 0.5, 0.0), accuracy("tflite", 0.25, 0.25)]
    rows += [accuracy("reference", 3.25, metric="mine:mae"), accuracy("tflite", 3.5, -0.25, metric="mine:mae")]
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        console.print(render(report(accuracy=rows)))
    text = captured.get()
    assert "top1 of 2" in text
    assert "15.0% to 35.0%" in text
    assert "25.0% to 25.0%" in text
    assert "mine:mae of 2" in text
    assert "-0.25 to -0.25" in text


def test_a_runtime_that_is_slow_with_int8_weights_is_named_with_its_numbers():
    rows = [{"runtime": "litert", "p50_ms": 1.0}, {"runtime": "tflite-runtime", "p50_ms": 5.0}]
    (sentence,) = slow_runtimes(Proof(latency=rows), {"int8_elements": 100})
    assert sentence.startswith("tflite-runtime takes 5 ms for this file, litert 1 ms")
    assert slow_runtimes(Proof(latency=rows), {"int8_elements": 0}) == []
    assert slow_runtimes(Proof(latency=rows[:1]), {"int8_elements": 100}) == []


def test_nan_is_never_accepted():
    rows = checks(Acceptance(), Proof(parity=[parity("tflite", 100.0, nan=3)]), 1)
    assert [row.ok for row in rows] == [False]


def test_the_error_enters_where_the_snr_falls_most():
    rows = [parity("onnx", 130.0), parity("quantize", 35.0), parity("saved_model", 36.0), parity("tflite", 20.0)]
    entry = error_entry(rows)
    assert (entry.stage, entry.snr_before_db, entry.snr_after_db) == ("quantize", 130.0, 35.0)


def test_a_refusal_shows_the_number_and_the_budget_side_by_side():
    row = {"check": "size", "where": "artifact", "value": 101.0, "budget": 100.0, "unit": "bytes", "ok": False}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(report(verdict="rejected", acceptance=[row])))
    text = console.export_text()
    assert "size of artifact is 101 bytes, the budget is 100 bytes" in text
    assert "top1 of 2" in text


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (1234, "1.23 kB"), (5_600_000, "5.60 MB")])
def test_sizes_read_well(count, text):
    assert size(count) == text
