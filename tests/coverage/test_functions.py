"""Functions of torch in the whole chain, and the same numbers out of the .tflite."""

from __future__ import annotations

import pytest

from tests.coverage import aten_run, function_cases

NAMES = list(function_cases.CASES)
#: Neighbours are alike: each batch has some of everything, and names of its own stand in what fails.
BATCHES = [NAMES[start::50] for start in range(50)]


def failed(names, *, quantized=False):
    found = aten_run.run({"names": names, "quantized": quantized, "cases": "function_cases"})
    return {name: one["text"] for name, one in found.items() if not one["passed"]}


def test_no_function_both_has_a_case_and_cannot_have_one():
    assert not set(function_cases.CASES) & set(function_cases.CANNOT)
    assert all(function_cases.CANNOT.values())


@pytest.mark.slow
@pytest.mark.parametrize("names", BATCHES, ids=[batch[0] for batch in BATCHES])
def test_functions_come_out_as_pytorch_computes_them(names):
    assert failed(names) == {}


@pytest.mark.slow
@pytest.mark.slice
def test_a_sample_of_functions_comes_out_as_pytorch_computes_them():
    assert failed(NAMES[::40]) == {}
