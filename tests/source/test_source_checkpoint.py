from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model

from edgeconv.errors import BrokenModelFile, Untrusted, WeightsMismatch
from edgeconv.source.checkpoint import load_weights


class Payload:
    """Unpickling it creates the file that it names: what a malicious checkpoint would do, and worse."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def net() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def save(path: Path, state) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.fixture
def state():
    return {name: torch.full_like(tensor, 7) for name, tensor in net().state_dict().items()}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin"])
def test_every_tensor_is_loaded(tmp_path, state, name):
    module = net()
    load_weights(module, save(tmp_path / name, state))
    assert all((tensor == 7).all() for tensor in module.state_dict().values())


def test_a_training_checkpoint_with_a_state_dict_inside(tmp_path, state):
    module = net()
    load_weights(module, save(tmp_path / "w.ckpt", {"epoch": 3, "state_dict": state}))
    assert (module[0].weight == 7).all()


def test_tied_weights_are_kept_once_by_safetensors_and_come_back(tmp_path):
    saved, module = Tied(), Tied()
    save_model(saved, str(tmp_path / "w.safetensors"))
    load_weights(module, tmp_path / "w.safetensors")
    assert module.head.weight.equal(saved.head.weight)
    assert module.head.weight is module.embed.weight


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("0.bias"), "missing: 0.bias"),
        (lambda s: s.update({"0.gamma": torch.ones(1)}), "unknown: 0.gamma"),
        (lambda s: s.update({"0.weight": torch.ones(2, 4)}), "0.weight is (2, 4), the module wants (2, 3)"),
        (
            lambda s: [s.pop(key) for key in list(s)],
            "missing: 0.bias, 0.weight, 1.bias, 1.num_batches_tracked and 3 more",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, state, name, change, says):
    change(state)
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(net(), save(tmp_path / name, state))
    assert caught.value.message == f"the checkpoint {name} does not fit the module: {says}"
    assert caught.value.hint


def test_all_that_does_not_fit_is_named_at_once(tmp_path, state):
    state["0.weight"] = torch.ones(3)
    state["0.gamma"] = state.pop("0.bias")
    with pytest.raises(WeightsMismatch, match=r"missing: 0\.bias; unknown: 0\.gamma; 0\.weight is \(3,\)"):
        load_weights(net(), save(tmp_path / "w.pt", state))


@pytest.mark.parametrize("odd", [{1: torch.ones(1)}, {"0.weight": 3.0}, {"0.weight": None}])
def test_odd_keys_and_values_are_named_too(tmp_path, state, odd):
    with pytest.raises(WeightsMismatch, match=r"unknown: 1$|0\.weight is (float|NoneType), the module wants"):
        load_weights(net(), save(tmp_path / "w.pt", {**state, **odd}))


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(1)], 3, None])
def test_a_checkpoint_without_names(tmp_path, content):
    with pytest.raises(BrokenModelFile, match="not tensors by name") as caught:
        load_weights(net(), save(tmp_path / "w.pt", content))
    assert "state_dict" in caught.value.hint


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("keep", [0, 7, 100, -50])
def test_a_truncated_checkpoint(tmp_path, state, name, keep):
    path = save(tmp_path / name, state)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BrokenModelFile, match=rf"the checkpoint {path} cannot be read") as caught:
        load_weights(net(), path)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_pickled_module_is_not_executed(tmp_path):
    with pytest.raises(Untrusted, match="holds more than tensors") as caught:
        load_weights(net(), save(tmp_path / "w.pt", net()))
    assert "state_dict" in caught.value.hint


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "named safetensors"])
def test_code_in_a_checkpoint_is_not_executed(tmp_path, state, form):
    victim, path = tmp_path / "executed", tmp_path / ("w.safetensors" if "safe" in form else "w.pt")
    content = {**state, "0.weight": Payload(victim)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(BrokenModelFile if "safe" in form else Untrusted):
        load_weights(net(), path)
    assert not victim.exists()
