"""Arguments that hold several tensors become one name a tensor; constants stay as they are."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from edgeconv.errors import InputMismatch, TrainingMode
from edgeconv.source import live, nesting
from edgeconv.source.calling import check_deterministic, own_path

A, B, C = torch.ones(1, 4), torch.full((1, 4), 2.0), torch.full((1, 4), 3.0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, xs, cache=None, *, scale=1.0, flag=False):
        y = self.mix(sum(xs)) * scale
        if cache is not None:
            y = y + cache["key"][0] - cache["value"]
        return -y if flag else y


class Rest(nn.Module):
    def forward(self, first, *rest, **named):
        return first + rest[0] * 2 + sum(named.values()) * 10


class Only(nn.Module):
    def forward(self, first, /, second):
        return first[0] - second * 2


CASES = {
    "list": (Net(), ([A, B],), ["xs_0", "xs_1"]),
    "nested": (Net(), ([A, B], {"key": (C,), "value": A}), ["xs_0", "xs_1", "cache_key_0", "cache_value"]),
    "constants": (Net(), {"xs": (A,), "cache": None, "scale": 3.0, "flag": True}, ["xs_0"]),
    "rest": (Rest(), (A, B), ["first", "rest_0"]),
    "two in the rest": (Rest(), (A, B, C), ["first", "rest_0", "rest_1"]),
    "positional only": (Only(), ((A, B), C), ["first_0", "first_1", "second"]),
    "names that meet": (
        Net(), ([A], {"key": [B], "key_0": C, "value": A}), ["xs_0", "cache_key_0", "cache_key_0_", "cache_value"],
    ),
    "odd keys": (Net(), ([A], {"key": [B], "value": A, "p.q": C}), ["xs_0", "cache_key_0", "cache_value", "cache_p_q"]),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_it_computes_the_same_from_tensors_by_name(case):
    module, given, names = CASES[case]
    wrapped, flat = nesting.by_tensors(module, given)
    assert list(flat) == names
    wanted = module(**given) if isinstance(given, dict) else module(*given)
    assert torch.equal(wrapped(**flat), wanted)
    changed = {name: tensor + 0.5 for name, tensor in flat.items()}
    assert not torch.equal(wrapped(**changed), wanted)


@pytest.mark.parametrize("given", [None, A, (A, B), {"xs": A}, (A, None), "text", {"no such": A}, (A, B, C, A, B)])
def test_what_is_one_tensor_an_argument_stays(given):
    module = Net()
    assert nesting.by_tensors(module, given) == (module, given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([A], object()), "the example input 'cache' is object, not a tensor"),
        (([A, b"x"],), "the example input 'xs_1' is bytes, not a tensor"),
        (([], None, 2.0)[:2], "no example input is a tensor"),
    ],
)
def test_what_no_file_can_take(given, says):
    with pytest.raises(InputMismatch) as caught:
        nesting.by_tensors(Net(), given)
    assert caught.value.message == says
    assert caught.value.hint


def test_the_wrapper_is_in_no_message(tmp_path):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

        def forward(self, xs):
            return nn.functional.dropout(self.deep(xs[0]), 0.5, training=True)

    wrapped, flat = nesting.by_tensors(Noisy().eval(), ([A],))
    with pytest.raises(TrainingMode) as caught:
        check_deterministic(wrapped, flat)
    assert "'Noisy'" in caught.value.message
    names = [own_path(name) for name, _ in wrapped.named_modules()]
    assert names == ["", "", "deep", "deep.0", "deep.1"]


def test_a_live_module_with_a_cache_becomes_a_program(tmp_path):
    module = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = live.freeze(module, ([A, B], {"key": [C], "value": A}), (), tmp_path / "m.pt2")
    assert [spec.name for spec in found] == ["xs_0", "xs_1", "cache_key_0", "cache_value"]
    program = torch.export.load(tmp_path / "m.pt2").module()
    given = {"xs_0": A, "xs_1": B, "cache_key_0": C, "cache_value": A}
    assert program(**given).allclose(module([A, B], {"key": [C], "value": A}))


NETS = """
class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)
    def forward(self, xs, state=None):
        return self.mix(xs[0]) + xs[1], state["h"] * 2
def pair():
    return Pair().eval(), ([torch.ones(1, 4), torch.zeros(1, 4)], {"h": torch.ones(1, 3)})
"""


def test_declared_inputs_and_ranges_name_the_tensors(load):
    loaded = load("net.py:pair", NETS, ("xs_1=2x4:float32:0..9", "xs_0=2x4"))
    assert [(spec.name, spec.shape) for spec in loaded.inputs] == [
        ("xs_0", (2, 4)),
        ("xs_1", (2, 4)),
        ("state_h", (1, 3)),
    ]
    assert loaded.inputs[1].high == 9
    assert loaded.module(**loaded.example)[0].shape == (2, 4)


def test_an_input_that_is_none_of_the_tensors(load):
    with pytest.raises(InputMismatch) as caught:
        load("net.py:pair", NETS, ("xs=2x4",))
    assert "no input 'xs'" in caught.value.message
    assert "xs_0, xs_1, state_h" in caught.value.hint
