"""From what qemu's plugin writes to counts, and the device's outputs beside the host's."""

from __future__ import annotations

import numpy as np
import pytest

from edgeconv.errors import MeasurementError
from edgeconv.harness.devices import arm_runner as at
from edgeconv.harness.devices import counts, host

MARKING = 10


def marks(*, load=500, first=120, invoke=100, idle=MARKING):
    """What the plugin writes for a file of which an invoke takes `invoke` instructions, a tenth of them loads."""
    lines, total = [], 1000

    def mark(code, spent):
        nonlocal total
        total += spent
        kinds = [0, 0, 0, total // 10, 0, total - total // 10]
        lines.append("mark " + " ".join(str(part) for part in (code, total, *kinds)))

    for code, spent in [
        (at.IDLE, 7), (at.IDLE, idle), (at.IDLE, idle), (at.BEFORE_LOAD, 300), (at.LOADED, load + idle),
        (at.BEFORE_FIRST, 30), (at.FIRST, first + idle), (at.BEFORE_FEW, 2000), (at.FEW, invoke + 3 + idle),
        (at.BEFORE_MANY, idle), (at.MANY, 3 * invoke + 3 + idle),
    ]:  # fmt: skip
        mark(code, spent)
    return "\n".join(lines)


def test_the_slope_leaves_out_what_marking_and_looping_cost():
    found = counts.read(marks(), (1, 3))
    assert found.run.per_invoke == 100
    assert found.run.load == 500
    assert found.run.first_invoke == 120
    assert sum(found.by_kind.values()) == 100


def test_equal_processes_repeat_exactly_and_different_ones_say_by_how_much():
    same = counts.summarize([counts.read(marks(), (1, 3))] * 3, (1, 3), "qemu-tcg-plugin", "7.2", "aarch64")
    assert (same.repeats_exactly, same.reason, same.instructions_per_invoke) == (True, "", 100)
    other = [counts.read(marks(load=load), (1, 3)) for load in (500, 500, 510)]
    found = counts.summarize(other, (1, 3), "qemu-tcg-plugin", "7.2", "aarch64")
    assert not found.repeats_exactly
    assert found.reason == "loading took between 500 and 510 instructions (2.0000% apart)"
    assert [run.load for run in found.runs] == [500, 500, 510]
    assert found.instructions_load == 500


def test_one_process_proves_no_repetition():
    found = counts.summarize([counts.read(marks(), (1, 3))], (1, 3), "qemu-tcg-plugin", "7.2", "aarch64")
    assert found.reason == "counted once"


def test_invokes_that_differ_within_a_process_are_told():
    text = marks(invoke=100).splitlines()
    last = text[-1].split()
    text[-1] = " ".join([*last[:2], str(int(last[2]) + 1), *last[3:]])
    found = counts.summarize([counts.read("\n".join(text), (1, 3))] * 2, (1, 3), "qemu-tcg-plugin", "7.2", "aarch64")
    assert found.reason == "invokes in one process differ from each other"


@pytest.mark.parametrize("text", ["", "mark 10 5 0 0 0 0 0 5"])
def test_a_run_without_marks_is_no_count_of_zero(text):
    with pytest.raises(MeasurementError, match="none of the runner's marks"):
        counts.read(text, (1, 3))


def test_blocks_are_booked_to_the_functions_that_hold_them(tmp_path):
    (tmp_path / "libx.so.txt").write_text(
        "0000000000001000 t gemm(float*)\n0000000000001040 t $x.1\n0000000000001800 T pad\n0000000000001900 r table\n"
    )
    maps = (
        "400000-500000 r-xp 00000000 fe:00 1 /usr/bin/python3.11\n"
        "7000000000-7000001000 r--p 00000000 fe:00 2 /opt/python/libx.so\n"
        "7000001000-7000003000 r-xp 00000800 fe:00 2 /opt/python/libx.so\n"  # the file's offset is not the address
        "7000010000-7000020000 rw-p 00000000 00:00 0 \n"
    )
    blocks = "block 7000001000 4 10\nblock 7000001044 2 5\nblock 7000001804 3 10\nblock 400010 1 20\nblock 9 1 1\n"
    found = counts.by_symbol(blocks, maps, tmp_path)
    assert [(row.library, row.symbol, row.instructions) for row in found] == [
        ("libx.so", "gemm(float*)", 50), ("libx.so", "pad", 30), ("python3.11", "python3.11", 20), ("", "unmapped", 1),
    ]  # fmt: skip
    assert sum(row.share for row in found) == pytest.approx(1)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("error", "dtype", "bound", "verdict"),
    [
        (0, np.float32, 60, "equal"), (1e-4, np.float32, 60, "close"), (1e-2, np.float32, 60, "differs"),
        (1e-2, np.float32, 30, "close"), (1e-1, np.float32, 30, "differs"), (0, np.int8, 30, "equal"),
        (1, np.int8, 30, "differs"), (np.nan, np.float32, 30, "differs"),
    ],
)  # fmt: skip
def test_floats_within_the_tolerance_are_close_and_integers_must_be_equal(tmp_path, error, dtype, bound, verdict):
    wanted = np.full((1, 100), 100 if dtype is np.int8 else 1, dtype)
    found = wanted.copy()
    found += np.asarray(error, dtype) if np.isfinite(error) else 0
    if not np.isfinite(error):
        found[0, 0] = error
    files = save(tmp_path / "a.npz", y=wanted), save(tmp_path / "b.npz", y=found)
    assert host.compare(*files, "litert 2.3", bound).verdict == verdict


def test_the_worst_output_decides_and_outputs_must_be_the_same_ones(tmp_path):
    one, two = np.ones(3, np.float32), np.ones(3, np.float32) * 2
    wanted, found = save(tmp_path / "a.npz", x=one, y=one), save(tmp_path / "b.npz", x=one, y=two)
    result = host.compare(wanted, found, "litert 2.3", 60)
    assert result.verdict == "differs"
    assert result.outputs["x"].verdict == "equal"
    with pytest.raises(MeasurementError, match="gives the outputs"):
        host.compare(wanted, save(tmp_path / "c.npz", x=one), "litert 2.3", 60)
    with pytest.raises(MeasurementError, match=r"float32\[2\]"):
        host.compare(wanted, save(tmp_path / "d.npz", x=one[:2], y=one), "litert 2.3", 60)
