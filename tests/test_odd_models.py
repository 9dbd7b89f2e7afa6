"""Whole runs of networks that are not a plain CNN: accepted in both targets, names and order kept, float exact."""

from pathlib import Path

import pytest

import edgeconv

NETS = Path(__file__).parent / "odd_nets.py"
SLICE = {("ends", "android"), ("unet", "android"), ("sound", "android-float"), ("encoder", "android")}
CASES = [
    pytest.param(net, target, marks=[pytest.mark.slow, *([pytest.mark.slice] if (net, target) in SLICE else [])])
    for net in ("ends", "unet", "sound", "encoder", "decoder")
    for target in ("android", "android-float")
]


@pytest.mark.parametrize(("net", "target"), CASES)
def test_it_is_accepted(net, target, tmp_path):
    report = edgeconv.run(f"{NETS}:{net}", target, out=tmp_path / "out", cache_dir=tmp_path / "cache")
    assert report.accepted, [row for row in report.acceptance if not row.ok]
    assert len({row.runtime for row in report.parity if row.stage == "tflite"}) == 2
    if target == "android-float":
        assert min(row.snr_db for row in report.parity) > 100
    if net == "ends":
        assert [entry["name"] for entry in report.contract["inputs"]] == ["a", "b", "flag", "n"]
        assert [entry["name"] for entry in report.contract["outputs"]] == ["total", "again", "chosen", "sum", "same"]
