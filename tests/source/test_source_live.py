from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from edgeconv.errors import InputMismatch, SourceError, TrainingMode
from edgeconv.source import live, parse_input


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x, y=None):
        return self.head(self.drop(x)) + (0 if y is None else y)


class Flow(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x - 1


class Random(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


@pytest.mark.parametrize(
    ("example", "specs", "names"),
    [
        (torch.ones(1, 4), (), ["x"]),
        ((torch.ones(1, 4),), (), ["x"]),
        ((torch.ones(1, 4), torch.ones(1, 2)), (), ["x", "y"]),
        ({"y": torch.ones(1, 2), "x": torch.ones(1, 4)}, (), ["x", "y"]),
        (None, ("x=1x4:float32:0..1",), ["x"]),
    ],
)
def test_a_live_module_becomes_a_program(tmp_path, example, specs, names):
    module = Net().eval()
    found = live.freeze(module, example, tuple(parse_input(spec) for spec in specs), tmp_path / "m.pt2")
    assert [spec.name for spec in found] == names
    program = torch.export.load(tmp_path / "m.pt2").module()
    keywords = {"x": torch.ones(1, 4), "y": torch.zeros(1, 2)}
    assert program(**{name: keywords[name] for name in names}).allclose(module(torch.ones(1, 4)))


def test_the_modes_of_every_layer_are_restored_and_named(tmp_path):
    module = Net().eval()
    module.drop.train()
    with pytest.warns(UserWarning, match=r"left in training mode \(drop\)"):
        live.freeze(module, torch.ones(1, 4), (), tmp_path / "m.pt2")
    assert (module.training, module.drop.training, module.head.training) == (False, True, False)


def test_a_module_in_eval_mode_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*training mode.*")
        live.freeze(Net().eval(), torch.ones(1, 4), (), tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("module", "example", "kind", "says"),
    [
        (Flow(), torch.ones(3), SourceError, "torch.export could not trace Flow: "),
        (Random(), torch.ones(64), TrainingMode, "two calls with the same input"),
        (Net(), torch.ones(1, 5), InputMismatch, "forward raised RuntimeError on x float32[1, 5]"),
        (Net(), None, InputMismatch, "Net tells no example inputs"),
        (Net(), {"z": torch.ones(1)}, InputMismatch, "no input 'z'"),
    ],
)
def test_what_cannot_be_frozen_is_one_sentence_and_the_mode_is_restored(tmp_path, module, example, kind, says):
    module.train()
    with warnings.catch_warnings(), pytest.raises(kind) as caught:
        warnings.simplefilter("ignore")
        live.freeze(module, example, (), tmp_path / "m.pt2")
    assert type(caught.value) is kind
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert module.training


def test_control_flow_names_the_line(tmp_path):
    with pytest.raises(SourceError) as caught:
        live.freeze(Flow().eval(), torch.ones(3), (), tmp_path / "m.pt2")
    assert "line 25 of" in caught.value.message
    assert __file__ in caught.value.message
