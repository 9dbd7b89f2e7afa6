from __future__ import annotations

import dataclasses
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgeconv.errors import InputMismatch
from edgeconv.source import calling

Pair = namedtuple("Pair", ["left", "right"])
A, B = torch.ones(1), torch.zeros(2)


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (A, ["output"]),
        ((A,), ["output_0"]),
        ((A, B), ["output_0", "output_1"]),
        ([A, (B, A)], ["output_0", "output_1_0", "output_1_1"]),
        ({"logits": A, "box": B}, ["logits", "box"]),
        ({"heads": [A, B]}, ["heads_0", "heads_1"]),
        (Pair(A, B), ["left", "right"]),
        ((A, None, 3), ["output_0"]),
        (None, []),
        (3, []),
    ],
)
def test_outputs_have_names(output, names):
    assert list(calling.flatten(output)) == names


class Keywords(torch.nn.Module):
    def forward(self, x, /, y, z=None, *, flag=None, **rest):
        return x


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (torch.nn.Linear(1, 1), ["input"]),
        (Keywords(), ["x", "y", "z", "flag"]),
        (torch.nn.Sequential(torch.nn.ReLU()), ["input"]),
        (torch.jit.script(torch.nn.Linear(1, 1)), ["input"]),
        (lambda *args, **kwargs: None, []),
    ],
)
def test_names_of_the_forwards_parameters(module, names):
    assert calling.parameter_names(module) == names


def test_a_forward_that_raises_is_placed(tmp_path, load):
    text = "class Bad(nn.Module):\n    def forward(self, x):\n        raise ValueError('no\\nway')\n"
    with pytest.raises(InputMismatch) as caught:
        load("net.py:bad", text + "def bad(): return Net(Bad()).eval(), EXAMPLE\n")
    line = (tmp_path / "net.py").read_text().splitlines().index("        raise ValueError('no\\nway')") + 1
    assert caught.value.message == (
        f"the model's forward raised ValueError on image float32[1, 1, 8, 8]: no (line {line} of {tmp_path / 'net.py'})"
    )


def test_the_innermost_line_of_the_users_counts(tmp_path):
    path = tmp_path / "user.py"
    path.write_text("import json\ndef f():\n    json.loads('{')\n")
    space: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    try:
        try:
            space["f"]()
        except ValueError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as error:
        assert calling.place(error) == f" (line 3 of {path})"
    assert calling.place(RuntimeError()) == ""


def test_a_cycle_of_causes_ends():
    error = RuntimeError()
    error.__context__ = ValueError()
    error.__context__.__context__ = error
    assert calling.place(error) == ""


def test_lists_are_cut():
    assert calling.some(["a", "b"]) == "a, b"
    assert calling.some(list("abcdef")) == "a, b, c, d and 2 more"
    assert calling.first_line(ValueError("\n  one\ntwo")) == "one"
    assert calling.first_line(ValueError()) == "ValueError"
    assert Path(calling.__file__).exists()


@dataclasses.dataclass
class Inner:
    h: torch.Tensor
    count: int = 3


@dataclasses.dataclass(frozen=True)
class Result:
    logits: torch.Tensor
    states: tuple[torch.Tensor, ...]
    inner: Inner | None = None


class Dict(dict):
    pass


class Told(dict):
    """A package told PyTorch how to take it apart, and not what the parts are called."""


torch.utils._pytree.register_pytree_node(
    Told, lambda one: (list(one.values()), list(one)), lambda values, keys: Told(zip(keys, values, strict=True))
)


class Layer:
    """No dataclass: some attributes are tensors, others are not."""

    kind = "layer"

    def __init__(self):
        self.keys, self.values, self.dtype, self.full = A, A + 1, torch.float32, False


class Cache:
    def __init__(self, layers=2):
        self.layers, self.layer_class = [Layer() for _ in range(layers)], Layer


def test_objects_that_hold_tensors_are_put_together_again():
    calling.know_containers(Cache())
    leaves, structure = torch.utils._pytree.tree_flatten(Cache())
    again = torch.utils._pytree.tree_unflatten([leaf * 2 for leaf in leaves], structure)
    assert type(again) is Cache
    assert again.layer_class is Layer
    assert again.layers[1].values.equal((A + 1) * 2)
    assert (again.layers[1].dtype, again.layers[1].full, again.layers[1].kind) == (torch.float32, False, "layer")


class Counted:
    def __init__(self):
        self.x, self.calls = A, [0]


class Child:
    def __init__(self, above):
        self.above, self.x = above, A


class Parent:
    def __init__(self):
        self.child = Child(self)


class Rows(list):
    extra = None


def test_what_an_object_counts_is_counted_anew_in_every_call():
    calling.know_containers(Counted())
    leaves, structure = torch.utils._pytree.tree_flatten(Counted())
    torch.utils._pytree.tree_unflatten(leaves, structure).calls[0] += 1
    assert torch.utils._pytree.tree_unflatten(leaves, structure).calls == [0]


def test_objects_that_refer_to_themselves_and_lists_with_attributes_stay_what_they_are():
    rows = Rows([A, A])
    rows.extra = A
    assert calling.flatten((A, Parent())).keys() == {"output_0"}
    assert "output_1_extra" not in calling.flatten((A, rows))


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ((A, Cache(1)), ["output_0", "output_1_layers_0_keys", "output_1_layers_0_values"]),
        (Told(sample=A, more=(A, Told(x=A))), ["sample", "more_0", "more_1_x"]),
        (Result(A, (A, A), Inner(A)), ["logits", "states_0", "states_1", "inner_h"]),
        (Result(A, ()), ["logits"]),
        (Dict(a=A, b=Dict(c=A)), ["a", "b_c"]),
        (SimpleNamespace(x=A, y=None, z=[A]), ["x", "z_0"]),
        ((A, Result(A, ()), 3, "text"), ["output_0", "output_1_logits"]),
    ],
)
def test_containers_of_other_kinds_are_opened(output, names):
    assert list(calling.flatten(output)) == names
