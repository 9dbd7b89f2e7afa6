"""The page is one well-formed file without scripts or requests, its charts hold the numbers, its areas are the bytes."""

import json
import re
from xml.etree import ElementTree as ET

import pytest

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
