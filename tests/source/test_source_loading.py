from __future__ import annotations

import sys

import pytest
import torch

from edgeconv.errors import (
    BrokenModelFile,
    FactoryFailed,
    InputMismatch,
    ModuleBroken,
    ModuleMissing,
    SourceError,
    TrainingMode,
    UsageError,
)
from edgeconv.source import loading, parse_reference


def refused(load, kind: type[Exception], reference: str, text: str = "", **options) -> SourceError:
    with pytest.raises(kind) as caught:
        load(reference, text, **options)
    error = caught.value
    assert type(error) is kind
    assert isinstance(error, (SourceError, UsageError))
    assert "\n" not in error.message
    assert error.hint
    return error


# the module


@pytest.mark.parametrize("reference", ["nope:make", "nope.deep:make", "pkg.nope:make", "net.nope:make"])
def test_a_module_that_is_missing(load, write, tmp_path, reference):
    write("pkg/__init__.py", "")
    error = refused(load, ModuleMissing, reference)
    assert (
        error.message
        == f"there is no module '{reference.split(':')[0].replace('.deep', '')}' on the path or in {tmp_path}"
    )


@pytest.mark.parametrize("form", ["broken.py:make", "broken:make", "pkg.broken:make"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package' (line 1 of {path})"),
        ("from math import nothing\n", "ImportError: cannot import name 'nothing' from 'math'"),
        ("x = 1\ndef make(:\n    pass\n", "SyntaxError: "),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (line 2 of {path})"),
        ("x = 1\n\n1 / 0\n", "ZeroDivisionError: division by zero (line 3 of {path})"),
        ("raise RuntimeError\n", "RuntimeError: RuntimeError (line 1 of {path})"),
    ],
)
def test_a_module_whose_own_import_fails(load, write, form, text, says):
    write("pkg/__init__.py", "")
    path = write("pkg/broken.py" if form.startswith("pkg") else "broken.py", text)
    error = refused(load, ModuleBroken, form)
    assert "was found, but importing it raised" in error.message
    assert says.format(path=path) in error.message
    assert str(path) in error.message or "math" in error.message
    assert "Traceback" in error.detail


def test_a_syntax_error_names_its_line(load, write):
    path = write("broken.py", "x = 1\ndef make(:\n    pass\n")
    assert f"(line 2 of {path})" in refused(load, ModuleBroken, "broken.py:make").message


def test_a_helper_that_is_broken_is_named(load, write):
    helper = write("helper.py", "\n\nimport no_such_package\n")
    error = refused(load, ModuleBroken, "net.py:make", "import helper\n")
    assert f"(line 3 of {helper})" in error.message


def test_relative_imports_in_a_file_are_explained(load):
    error = refused(load, ModuleBroken, "net.py:make", "from . import helper\n")
    assert "package.module:factory" in error.hint


def test_a_file_that_failed_can_be_mended_and_loaded(load):
    refused(load, ModuleBroken, "net.py:make", "1 / 0\n")
    assert load("net.py:make", "\n").inputs[0].name == "image"


def test_a_file_named_as_a_library_does_not_replace_it(load, write, tmp_path):
    library = sys.modules["copy"]
    text = (tmp_path / "net.py").read_text()
    path = write("copy.py", text)
    loaded = load("copy.py:make")
    assert sys.modules["copy"] is library
    assert str(path) in {entry["path"] for entry in loaded.snapshot.files.values()}


# the reference


@pytest.mark.parametrize("reference", ["net.py", "net", "", "net.py:", "a b:c", "net.py:1x", ":make"])
def test_a_reference_that_cannot_be_read(load, reference):
    refused(load, UsageError, reference)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [("gone.py:make", ModuleMissing), ("gone.onnx", BrokenModelFile), ("gone.pt2", BrokenModelFile)],
)
def test_a_file_that_is_missing(load, tmp_path, reference, kind):
    assert str(tmp_path / reference.split(":")[0]) in refused(load, kind, reference).message


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "a b", ""])
def test_a_name_that_cannot_be_a_folder(load, name):
    assert "cannot be a folder's name" in refused(load, UsageError, "net.py:make", name=name).message


# the factory


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("\n\ndef bad():\n    raise KeyError('no such backbone')\n", "raised KeyError: 'no such backbone' (line ", ""),
        ("def bad():\n    import sys; sys.exit(3)\n", "raised SystemExit: 3 (line ", ""),
        ("def bad():\n    import no_such_package\n", "raised ModuleNotFoundError: No module named 'no_such", ""),
        ("def bad(): return 3\n", "returned int, not a torch.nn.Module", ""),
        ("def bad(): return None\n", "returned NoneType", ""),
        ("def bad(): return Net\n", "returned type", ""),
        ("def bad(): return [Net(), (EXAMPLE,)]\n", "returned list", ""),
        ("def bad(): return Net(), (EXAMPLE,), 3\n", "returned tuple", ""),
        ("def bad(size): return Net()\n", "raised TypeError: bad() missing 1 required positional argument", ""),
        ("bad = 3\n", "'bad' in {path} is int, not a function", "name a function"),
        ("def bat(): pass\n", "{path} has no function 'bad'", "did you mean bat?"),
        ("", "{path} has no function 'bad'", "name a function"),
    ],
)
def test_a_factory_that_fails(load, tmp_path, text, says, hint):
    error = refused(load, FactoryFailed, "net.py:bad", text or "\n")
    assert says.format(path=tmp_path / "net.py") in error.message
    assert hint in error.hint


def test_a_class_is_a_factory_too(load):
    assert load("net.py:Net", inputs=("image=1x1x8x8",)).inputs[0].shape == (1, 1, 8, 8)


# example inputs, by all ways


@pytest.mark.parametrize(
    "made",
    ["Net(), EXAMPLE", "Net(), (EXAMPLE,)", "Net(), [EXAMPLE]", "Net(), {'image': EXAMPLE}"],
)
def test_example_inputs_as_tensor_tuple_list_or_dict(load, made):
    loaded = load("net.py:one", f"def one(): return {made}\n")
    assert [(spec.name, spec.shape, spec.dtype) for spec in loaded.inputs] == [("image", (1, 1, 8, 8), "float32")]
    assert list(loaded.example) == ["image"]
    assert loaded.module(**loaded.example).shape == (1, 4)


def test_the_users_spec_wins_and_its_range_is_kept(load):
    loaded = load("net.py:make", inputs=("image=2x1x6x6:float32:0..255",))
    spec = loaded.inputs[0]
    assert (spec.shape, spec.low, spec.high) == ((2, 1, 6, 6), 0.0, 255.0)
    assert loaded.example["image"].shape == (2, 1, 6, 6)
    assert 1 < float(loaded.example["image"].max()) <= 255


@pytest.mark.parametrize(
    ("reference", "inputs", "says", "hint"),
    [
        ("net.py:alone", (), "net.py:alone tells no example inputs", "--input image="),
        ("net.py:alone", ("img=1x1x8x8",), "the forward has no input 'img'", "its inputs are: image"),
        ("net.py:alone", ("image=1x8x8x8",), "forward raised RuntimeError on image float32[1, 8, 8, 8]: ", "--input"),
        ("net.py:alone", ("image=8x8",), "forward raised", "--input"),
        ("net.py:alone", ("image=1x1x8x8:int64",), "forward raised RuntimeError on image int64", "--input"),
        ("net.py:alone", ("image=1x1x8x8", "image=1x1x4x4"), "'image' is declared twice", "leave out"),
    ],
)
def test_inputs_that_do_not_fit(load, tmp_path, reference, inputs, says, hint):
    error = refused(load, InputMismatch, reference, inputs=inputs)
    assert says in error.message
    assert hint in error.hint
    if "raised" in says:
        assert f"(line 15 of {tmp_path / 'net.py'})" in error.message


# modes


def test_a_model_in_training_mode_is_converted_in_eval_mode_with_a_warning_that_names_it(load):
    loaded = load("net.py:left", "def left(): return Net(nn.Dropout()), EXAMPLE\n")
    assert not any(module.training for module in loaded.module.modules())
    assert loaded.warnings == (
        "the model was left in training mode (Net, conv, head, tail); it was converted in eval mode",
    )
    assert loaded.snapshot.facts == {"warnings": list(loaded.warnings)}
    assert load("net.py:make").warnings == ()


def test_one_layer_left_in_training_mode_is_named(load):
    loaded = load("net.py:left", "def left():\n    net = Net().eval()\n    net.head.train()\n    return net, EXAMPLE\n")
    assert loaded.warnings == ("the model was left in training mode (head); it was converted in eval mode",)


STUCK = """
class Stuck(nn.Dropout):
    def train(self, mode=True):
        self.training = True
        return self

class Noise(nn.Module):
    def forward(self, x): return {noise}

def stuck(): return Net(Stuck()).eval(), EXAMPLE
def noisy(): return Net(nn.Sequential(nn.Identity(), Noise())).eval(), EXAMPLE
"""


def test_a_layer_that_stays_in_training_mode_is_refused_by_name(load):
    error = refused(load, TrainingMode, "net.py:stuck", STUCK.replace("{noise}", "x"))
    assert error.message == "still in training mode after eval(): tail"


@pytest.mark.parametrize(
    "noise",
    [
        "nn.functional.dropout(x, 0.5, training=True)",
        "x + torch.randn_like(x)",
        "x[:, : torch.randint(1, 99, ()) % 4 + 1]",
    ],
)
def test_an_output_that_is_random_in_eval_mode_is_refused_by_name(load, noise):
    error = refused(load, TrainingMode, "net.py:noisy", STUCK.replace("{noise}", noise))
    assert "'tail.1'" in error.message
    assert "self.training" in error.hint


def test_an_output_of_nan_is_no_randomness(load):
    assert load("net.py:noisy", STUCK.replace("{noise}", "x / 0 * 0")).warnings == ()


def test_factories_without_a_seed_give_the_same_weights(load):
    first = load("net.py:make").module.state_dict()["head.weight"].clone()
    assert first.equal(load("net.py:make", "\n").module.state_dict()["head.weight"])


SETTLED = """
import torch
def make():
    net = torch.nn.Linear(4, 4)
    net.weight.data.fill_(torch.get_num_threads())
    return net, torch.rand(1, 4)
"""


def test_weights_that_a_factory_computes_do_not_depend_on_the_number_of_threads(load):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert float(load("net.py:make", SETTLED).module.weight.detach().mean()) == 1.0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_is_loaded_once_a_process(load, tmp_path):
    loaded = load("net.py:make")
    assert loading.load(parse_reference("net.py:make", base=tmp_path)) is loaded
