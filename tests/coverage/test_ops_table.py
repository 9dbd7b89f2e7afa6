"""The committed table names every operator, claims nothing that a fresh run of a sample denies, and keeps its bounds."""

from __future__ import annotations

import pytest

from tests.coverage import aten_cases, aten_run, node_tests, reasons, table

TABLE = table.read()


def test_every_onnx_operator_of_opset_13_has_a_row():
    assert list(TABLE["onnx"]) == table.onnx_ops()


def test_every_core_aten_operator_has_a_row_and_a_case_or_a_reason():
    assert list(TABLE["aten"]) == aten_cases.core()
    assert set(aten_cases.CASES) | set(aten_cases.CANNOT) == set(aten_cases.core())
    assert not set(aten_cases.CASES) & set(aten_cases.CANNOT)


@pytest.mark.parametrize("kind", ["onnx", "aten"])
def test_verdicts_are_known_and_what_cannot_be_says_why(kind):
    for name, row in TABLE[kind].items():
        assert {row["float"], row["quantized"]} <= set(table.VERDICTS), name
        assert row["reason"] or row["float"] == row["quantized"] == "passes", name


def test_the_markdown_is_the_tables():
    assert table.MARKDOWN.read_text() == table.markdown(TABLE)


def test_at_least_95_percent_of_the_representable_node_tests_pass():
    assert TABLE["node_tests"]["passed"] >= 0.95 * TABLE["node_tests"]["representable"]


def test_every_node_test_that_does_not_pass_has_its_reason():
    for name, test in TABLE["tests"].items():
        assert test["verdict"] in {"cannot", "excepted"}, name
        assert test["reason"], name


def test_no_operator_is_left_that_tflite_could_represent():
    for kind in ("onnx", "aten"):
        assert not [name for name, row in TABLE[kind].items() if "not yet" in (row["float"], row["quantized"])]


def test_exceptions_and_reasons_name_tests_and_operators_that_exist():
    assert set(reasons.EXCEPTIONS) <= set(node_tests.cases())
    assert set(reasons.CANNOT_OPS) <= set(table.onnx_ops())


SAMPLE = [
    "test_conv_with_strides_padding", "test_resize_upsample_scales_cubic", "test_einsum_batch_matmul", "test_gru_defaults",
    "test_scatternd_add", "test_bitshift_right_int32", "test_top_k_smallest", "test_reduce_log_sum_exp_keepdims_random",
    "test_averagepool_2d_dilations", "test_nonmaxsuppression_two_classes", "test_qlinearmatmul_2D_uint8_float32",
    "test_asin_example",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.slice
@pytest.mark.parametrize("quantized", [False, True])
def test_a_sample_of_node_tests_still_passes(quantized):
    assert not {name for name in SAMPLE if TABLE["tests"].get(name)}
    for batch in node_tests.batches(SAMPLE, len(SAMPLE)):
        found = node_tests.run({"names": batch, "quantized": quantized})
        assert {name: one["text"] for name, one in found.items() if not one["passed"]} == {}


@pytest.mark.slow
@pytest.mark.slice
@pytest.mark.parametrize("quantized", [False, True])
def test_a_sample_of_aten_cases_still_passes(quantized):
    names = [name for name in list(aten_cases.CASES)[::12] if TABLE["aten"][name]["float"] == "passes"]
    found = aten_run.run({"names": names, "quantized": quantized})
    assert {name: one["text"] for name, one in found.items() if not one["passed"]} == {}
