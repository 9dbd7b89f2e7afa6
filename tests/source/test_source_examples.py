from __future__ import annotations

import pytest
import torch

from edgeconv.errors import InputMismatch
from edgeconv.source import parse_input
from edgeconv.source.examples import inputs_of
from edgeconv.source.model import ModelSource


def of(given, names, *specs, tmp_path):
    source = ModelSource("m", "factory", "m.py:make", tmp_path, inputs=tuple(parse_input(text) for text in specs))
    return inputs_of(source, given, names)


A, B = torch.tensor([[1, 5]]), torch.tensor([0.25, 0.5])


@pytest.mark.parametrize(
    "given", [(A, B), [A, B], {"a": A, "b": B}, {"b": B, "a": A}, {"a": A, "b": B, "c": None}, (A, B, None)]
)
def test_the_order_is_the_forwards(tmp_path, given):
    example, specs = of(given, ["a", "b", "c"], tmp_path=tmp_path)
    assert list(example) == ["a", "b"]
    assert specs == (parse_input("a=1x2:int64:1..5"), parse_input("b=2:float32:0..1"))
    assert example["a"].equal(A)


@pytest.mark.parametrize(
    ("tensor", "spec"),
    [
        (torch.tensor([-1.0, 1.0]), "x=2"),
        (torch.tensor([0.0, 2.0]), "x=2:float32:0..2"),
        (torch.zeros(2), "x=2"),
        (torch.tensor([float("nan"), 1.0]), "x=2"),
        (torch.tensor([True, False]), "x=2:bool:0..1"),
        (torch.tensor(7, dtype=torch.uint8), "x=scalar:uint8:7..7"),
        (torch.tensor([0.0, 1.0], dtype=torch.float16, requires_grad=True), "x=2:float16:0..1"),
    ],
)
def test_the_range_that_an_example_shows(tmp_path, tensor, spec):
    example, specs = of(tensor, ["x"], tmp_path=tmp_path)
    assert specs == (parse_input(spec),)
    assert not example["x"].requires_grad


def test_declared_inputs_win_over_the_example(tmp_path):
    example, specs = of({"a": A, "b": B}, ["a", "b"], "a=1x3:int32:8..9", tmp_path=tmp_path)
    assert specs[0] == parse_input("a=1x3:int32:8..9")
    assert set(example["a"].flatten().tolist()) <= {8, 9}
    assert example["b"].equal(B)


def test_a_forward_that_takes_any_keywords(tmp_path):
    assert list(of({"p": A, "q": B}, [], tmp_path=tmp_path)[0]) == ["p", "q"]
    assert list(of(None, [], "p=2", tmp_path=tmp_path)[0]) == ["p"]


@pytest.mark.parametrize(
    ("given", "names", "specs", "says"),
    [
        (None, ["x"], (), "m.py:make tells no example inputs"),
        ((A, B, A), ["a", "b"], (), "3 example inputs for a forward that takes 2: a, b"),
        ({"c": A}, ["a", "b"], (), "no input 'c'"),
        ((3,), ["a"], (), "'a' is int, not a tensor"),
        (({"k": A},), ["a"], (), "'a' is dict, not a tensor"),
        ("text", ["a"], (), "the example inputs are str, not tensors"),
        ((torch.ones(2, dtype=torch.bfloat16),), ["a"], (), "'a' is bfloat16, which no target takes"),
        ((torch.ones(2, dtype=torch.complex64),), ["a"], (), "'a' is complex64, which no target takes"),
        ((torch.ones(0, 3),), ["a"], (), "'a' has no elements (shape (0, 3))"),
        ((A, B), [], (), "does not name its inputs"),
        (None, ["a"], ("b=2",), "no input 'b'"),
    ],
)
def test_what_does_not_fit(tmp_path, given, names, specs, says):
    with pytest.raises(InputMismatch) as caught:
        of(given, names, *specs, tmp_path=tmp_path)
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
