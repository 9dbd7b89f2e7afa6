"""The page is one well-formed file without scripts or requests, its charts hold the numbers, its areas are the bytes."""

import json
import re
from xml.etree import ElementTree as ET

import pytest

from edgeconv.harness.devices.record import (
    CountRun,
    DeviceRecord,
    Equality,
    Instructions,
    OutputEquality,
    SymbolRow,
)
from edgeconv.report import BenchRecord
from edgeconv.report.charts import Bar, Tile, bars, course, distribution, squarify, treemap
from edgeconv.report.page import render
from tests.report.test_report_model import TIMES


def record(**changes):
    times = {key: value for key, value in TIMES.items() if key != "phases"}
    data = {
        "file": "a<b>.tflite", "kind": "tflite", "bytes": 100, "sha256": "0" * 64, "runtime": "litert", "runtime_version": "2.3",
        "latency": times, "phases": TIMES["phases"], "seconds": 1.0,
        "confinement": {"threads": 1, "cpus": [0], "niceness": None, "memory_mb": None},
        "ops": {"method": "its own profiler", "runs": 30, "sum_ms": 0.9, "unattributed_ms": 0.0, "partitions": 1, "rows": [
            {"op": "CONV_2D", "output": "x&y", "ms": 0.9, "weight_bytes": 90, "delegate": "XNNPACK", "reason": "", "kernels": []},
            {"op": "GATHER", "output": "z", "ms": 0.0, "weight_bytes": 0, "delegate": "", "reason": "no gather", "kernels": []}]},
        "memory": {"peak_bytes": 7, "rows": [{"what": "unexplained", "bytes": 7}], "phases": {"load": 7}},
        "parts": [{"name": "layer", "kind": "int8", "bytes": 90}, {"name": "padding", "kind": "file", "bytes": 10}],
    }  # fmt: skip
    return BenchRecord(**{**data, **changes})


def test_the_page_stands_alone_and_escapes_what_files_are_called(tmp_path):
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps({"samples": [1_000_000, 1_100_000, 2_000_000] * 20}))
    page = render(
        [record(samples_file=str(samples)), record(latency=None, phases=None, ops=None, memory=None, parts=None)]
    )
    assert "<script" not in page
    assert not re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(?!#)', page)
    assert "a&lt;b&gt;.tflite" in page
    assert "a<b>" not in page
    charts = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(charts) == 4
    assert "Not delegated: GATHER: no gather" in page
    assert "others had the processor" in page


def test_the_page_says_under_what_conditions_the_host_measured():
    ends = [{"name": "image", "shape": [1, 8], "dtype": "float32", "low": 0.0, "high": 0.5, "source": "manifest"}]
    allowed = {"threads": 2, "cpus": [0, 3], "niceness": 4, "memory_mb": 300.0}
    page = render([record(inputs=ends, confinement=allowed, delegates={"XNNPACK": 1})])
    told = "2 threads; on the processors 0, 3; niceness 4; at most 300 MB beyond an empty interpreter; "
    assert f"{told}delegates (pieces of the graph): XNNPACK 1" in page
    assert "<td>image</td><td>float32[1, 8]</td><td>0 to 0.5</td><td>manifest</td>" in page


def test_a_devices_page_shows_counts_functions_equality_and_what_the_number_is_not():
    counted = Instructions(
        counter="qemu-tcg-plugin", counter_version="7.2", counted_on="aarch64, cortex-a53", instructions_per_invoke=1234567,
        instructions_load=7654321, instructions_first_invoke=1300000, invoke_counts=[1, 3], repeats_exactly=False,
        reason="loading took between 1 and 2", runs=[CountRun(per_invoke=1234567.0, first_invoke=1300000, load=7654321)] * 2,
        by_kind={"branch": 25, "other": 75},
        by_symbol=[
            SymbolRow(symbol="(anonymous namespace)::xnn_gemm<a>(int)", library="libx.so", instructions=900000, share=0.73)
        ],
    )  # fmt: skip
    output = OutputEquality(dtype="float32", verdict="differs", max_abs_error=0.5, snr_db=12.5)
    found = DeviceRecord(
        device="arm:cortex-a53", kind="emulated", runtime="litert", runtime_version="2.3.0", threads=1, instructions=counted,
        equality=Equality(verdict="differs", min_snr_db=60.0, host_runtime="litert 2.3.0", outputs={"y<": output}),
        what_it_is="a count", what_it_is_not="a time", warnings=["the output 'y<' differs"],
    )  # fmt: skip
    about = {"file": "x.tflite", "kind": "tflite", "bytes": 1, "sha256": "0" * 64, "seconds": 1.0}
    page = render([BenchRecord(**about, device=found.device, **found.fields())])
    for text in (
        "<td>an invoke</td><td>1,234,567</td>", "<td>loading</td><td>7,654,321</td>", "loading took between 1 and 2",
        "branch 25.0%, other 75.0%", ">xnn_gemm&lt;a&gt;<", "900,000, 73.0%", "What the number is: a count.",
        "What it is not: a time.", "<td>y&lt;</td><td>float32</td><td>differs</td><td>0.5</td><td>12.5 dB</td>",
        "the output &#x27;y&lt;&#x27; differs.",
    ):  # fmt: skip
        assert text in page
    (chart,) = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(chart.findall("rect")) == 1


def test_the_areas_of_a_treemap_are_the_values_and_fill_it():
    values = [50, 25, 10, 5, 5, 3, 2]
    boxes = squarify([value * 6.0 for value in values], 0, 0, 30, 20)
    assert [width * height for _, _, width, height in boxes] == pytest.approx([value * 6.0 for value in values])
    for x, y, width, height in boxes:
        assert x >= -1e-9
        assert y >= -1e-9
        assert x + width <= 30 + 1e-9
        assert y + height <= 20 + 1e-9
    svg = ET.fromstring(treemap([Tile("a", 3, "int8", "a"), Tile("b", 0, "int8", "b")]))
    assert len(svg.findall("rect")) == 1


def test_every_sample_is_in_the_histogram_or_counted_as_longer():
    times = [1.0 + number / 100 for number in range(100)] + [50.0]
    svg = ET.fromstring(distribution(times, [("p50", 1.5)]))
    counted = sum(int(re.match(r"\d+", title.text)[0]) for title in svg.iter("title"))
    assert counted == 100
    assert "1 of 101 invokes took longer" in "".join(svg.itertext())
    ET.fromstring(distribution([1.0] * 10, [("p50", 1.0)]))
    ET.fromstring(course([1.0] * 10, 1.0))


def test_a_sum_of_the_rest_sets_no_scale():
    svg = ET.fromstring(bars([Bar("a", "", 1.0, "yes", ""), Bar("rest", "", 9.0, "other", "")]))
    first, rest = svg.findall("rect")
    assert first.get("width") == rest.get("width")
