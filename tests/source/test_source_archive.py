from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeconv.errors import BrokenModelFile, InputMismatch, SourceError, TrainingMode, Untrusted


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


class Nested(nn.Module):
    def forward(self, state, pair, factor=2, *, bias):
        return {"sum": state["a"] * factor + pair[0] - pair[1] + bias}


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()


@pytest.fixture
def saved(tmp_path):
    def save(module=None, args=None, kwargs=None, **options) -> Path:
        args = args or (torch.ones(1, 1, 8, 8),)
        torch.export.save(torch.export.export(module or net(), args, kwargs, **options), tmp_path / "m.pt2")
        return tmp_path / "m.pt2"

    return save


def replace_member(path: Path, suffix: str, content: bytes) -> None:
    """Rewrite one member of an archive, or add it."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(iter(members)).split("/")[0]
    name = next((name for name in members if name.endswith(suffix)), f"{root}/{suffix}")
    members[name] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_a_program_is_called_by_name(load, saved):
    saved()
    loaded = load("m.pt2")
    assert [(spec.name, spec.shape) for spec in loaded.inputs] == [("input", (1, 1, 8, 8))]
    assert loaded.module(**loaded.example).allclose(net()(torch.ones(1, 1, 8, 8)))
    assert loaded.program is not None
    assert list(loaded.snapshot.files) == ["file:m.pt2"]


def test_containers_constants_and_keywords_are_put_back_in_place(load, saved):
    saved(Nested(), ({"a": torch.ones(2)}, [torch.ones(2), torch.zeros(2)], 3), {"bias": torch.full((2,), 0.5)})
    loaded = load("m.pt2")
    assert [spec.name for spec in loaded.inputs] == ["state_a", "pair_0", "pair_1", "bias"]
    assert loaded.module(**loaded.example)["sum"].tolist() == [4.5, 4.5]


def test_the_users_range_and_a_free_dimension(load, saved):
    saved(dynamic_shapes=({0: torch.export.Dim("batch", max=9)},), args=(torch.ones(2, 1, 8, 8),))
    loaded = load("m.pt2", inputs=("input=3x1x8x8:float32:0..1",))
    assert loaded.inputs[0].shape == (3, 1, 8, 8)
    assert not loaded.program.range_constraints
    assert loaded.module(**loaded.example).shape == (3, 2, 6, 6)


@pytest.mark.parametrize("spec", ["input=1x1x9x9", "x=1x1x8x8", "input=8"])
def test_inputs_that_do_not_fit_a_program(load, saved, spec):
    saved()
    with pytest.raises(InputMismatch) as caught:
        loaded = load("m.pt2", inputs=(spec,))
        from edgeconv.source.calling import call

        call(loaded.module, loaded.example)  # as the stage does
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("keep", [0, 10, 1000, -100])
def test_a_truncated_program(load, saved, keep):
    path = saved()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BrokenModelFile, match=r"m\.pt2 is no torch\.export archive, or is truncated") as caught:
        load("m.pt2")
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", ["zip", "text", "checkpoint"])
def test_a_file_that_is_no_program(load, tmp_path, content):
    path = tmp_path / "m.pt2"
    if content == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif content == "text":
        path.write_text("hello")
    else:
        torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(BrokenModelFile, match=r"no torch\.export archive"):
        load("m.pt2")


def test_code_among_the_sample_inputs_is_not_executed(load, saved, tmp_path):
    victim, stream = tmp_path / "executed", io.BytesIO()
    torch.save(((Payload(victim),), {}), stream)
    replace_member(saved(), "data/sample_inputs/model.pt", stream.getvalue())
    with pytest.raises(Untrusted, match="can execute code") as caught:
        load("m.pt2")
    assert "--trust" in caught.value.hint
    assert not victim.exists()
    with contextlib.suppress(SourceError):
        load("m.pt2", trust=True)
    assert victim.exists()  # so the file was dangerous indeed


def test_code_among_the_constants_is_not_executed(load, saved, tmp_path):
    victim = tmp_path / "executed"
    path = saved()
    entry = '{"path_name": "opaque_obj_0", "is_param": false, "use_pickle": true, "tensor_meta": null}'
    replace_member(path, "data/constants/model_constants_config.json", b'{"config": {"c": %s}}' % entry.encode())
    replace_member(path, "data/constants/opaque_obj_0", pickle.dumps(Payload(victim)))
    with pytest.raises(Untrusted, match="can execute code"):
        load("m.pt2")
    assert not victim.exists()
    with contextlib.suppress(SourceError):
        load("m.pt2", trust=True)
    assert victim.exists()


def test_compiled_code_in_a_program_is_not_loaded(load, saved):
    replace_member(saved(), "data/aotinductor/model/model.so", b"\x7fELF")
    with pytest.raises(Untrusted, match="holds compiled code"):
        load("m.pt2")


def test_loading_leaves_torch_and_pickle_as_they_were(load, saved):
    before = torch.load, pickle.loads
    saved()
    load("m.pt2")
    assert (torch.load, pickle.loads) == before


@pytest.mark.parametrize(("layer", "name"), [("2", "2"), ("1", "1")])
def test_a_program_exported_in_training_mode_is_refused_by_name(load, saved, layer, name):
    module = net()
    module.get_submodule(layer).train()
    saved(module)
    with pytest.raises(TrainingMode, match=rf"exported in training mode: {name}$") as caught:
        load("m.pt2")
    assert "eval()" in caught.value.hint


# TorchScript


@pytest.fixture
def script(tmp_path):
    torch.jit.trace(net(), torch.ones(1, 1, 8, 8)).save(str(tmp_path / "m.ts"))
    return tmp_path / "m.ts"


@pytest.mark.parametrize("name", ["m.ts", "m.torchscript", "m.pt", "m.pth"])
def test_torchscript_needs_trust(load, script, name):
    script.rename(script.with_name(name))
    with pytest.raises(Untrusted, match="can execute code from it") as caught:
        load(name, inputs=("input=1x1x8x8",))
    assert "--trust" in caught.value.hint


def test_a_pickled_module_is_not_executed_even_when_trusted_as_torchscript(load, tmp_path):
    torch.save({"x": Payload(tmp_path / "executed")}, tmp_path / "m.pt")
    for trust in (False, True):
        with pytest.raises(BrokenModelFile if trust else Untrusted):
            load("m.pt", trust=trust)
    assert not (tmp_path / "executed").exists()


def test_trusted_torchscript_becomes_a_program(load, script):
    loaded = load("m.ts", inputs=("input=1x1x8x8",), trust=True)
    assert [spec.name for spec in loaded.inputs] == ["input"]
    from edgeconv.source.archive import ByName

    program = ByName(loaded.program)
    assert not loaded.program.range_constraints
    given = loaded.example["input"]
    assert program(**{program.names[0]: given}).allclose(loaded.module(given))


def test_truncated_torchscript(load, script):
    script.write_bytes(script.read_bytes()[:-100])
    with pytest.raises(BrokenModelFile, match="cannot be loaded as TorchScript") as caught:
        load("m.ts", trust=True)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_torchscript_tells_no_inputs_but_their_names(load, script):
    with pytest.raises(InputMismatch, match="tells no example inputs") as caught:
        load("m.ts", trust=True)
    assert "--input input=" in caught.value.hint


def test_torchscript_that_cannot_become_a_program(load, script, monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("prim::Something is not supported\nmore")

    monkeypatch.setattr("torch._export.converter.TS2EPConverter.convert", refuse)
    with pytest.raises(SourceError, match=r"torch\.export program: prim::Something is not supported$"):
        load("m.ts", inputs=("input=1x1x8x8",), trust=True)
