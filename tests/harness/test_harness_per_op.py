"""Kernels go to the ops they belong to, whatever the delegate adds, leaves out or does itself; times add up."""

from __future__ import annotations

import pytest

from edgeconv.harness import per_op


def ops(*names, left=()):
    return [{"op": name, "delegated": number not in left} for number, name in enumerate(names)]


def test_kernels_of_a_delegate_are_paired_in_order_and_helpers_go_to_the_op_they_prepare():
    file = ops("DEQUANTIZE", "PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "MEAN")
    events = [
        ("Constant Pad (ND, X32)", None, 1.0), ("Convert (NC, F32, QDU8)", None, 2.0),
        ("Convolution (NHWC, QDU8, F32, QC8W) IGEMM", None, 3.0), ("Convolution (NHWC, F32) DWConv", None, 4.0),
        ("Fully Connected (NC, QDU8, F32, QC8W) GEMM", None, 5.0), ("Mean (ND) Reduce2", None, 6.0),
    ]  # fmt: skip
    rows, lost = per_op.attribute(file, events)
    assert [row["ms"] for row in rows] == pytest.approx([0, 0.001, 0.005, 0.004, 0.005, 0.006])
    assert rows[2]["kernels"] == [events[1][0], events[2][0]]
    assert lost == 0
    assert sum(row["ms"] for row in rows) == pytest.approx(0.021)


def test_an_op_that_the_interpreter_ran_is_named_by_its_number():
    rows, _ = per_op.attribute(ops("CONV_2D", "GATHER", "CONV_2D", left=(1,)), [
        ("Convolution (NHWC, F32) IGEMM", None, 1.0), ("GATHER", 1, 7.0), ("Convolution (NHWC, F32) IGEMM", None, 2.0),
    ])  # fmt: skip
    assert [row["ms"] for row in rows] == pytest.approx([0.001, 0.007, 0.002])
    assert [row["delegated"] for row in rows] == [True, False, True]


def test_a_depthwise_conv_does_not_take_a_dense_ones_kernel():
    assert per_op.fits("DEPTHWISE_CONV_2D", "Convolution (NHWC, F32) DWConv")
    assert not per_op.fits("FULLY_CONNECTED", "Convolution (NHWC, F32) DWConv")
    assert not per_op.fits("ADD", "Multiply (ND)")
    assert per_op.fits("GELU", "GELU (NC)")


def test_kernels_that_come_after_all_ops_go_to_the_last_and_without_any_op_they_are_lost():
    rows, lost = per_op.attribute(ops("ADD"), [("Add (ND)", None, 1.0), ("Copy (NC)", None, 1.0)])
    assert (rows[0]["ms"], lost) == (pytest.approx(0.002), 0)
    rows, lost = per_op.attribute(ops("ADD"), [("Softmax (NC)", None, 1.0)])
    assert (rows[0]["ms"], lost) == (0, pytest.approx(0.001))
