from __future__ import annotations

import pytest

from edgeconv import project
from edgeconv.errors import BrokenModelFile, InputMismatch, ProjectError, UsageError

DECLARED = """\
[models.face]
model = "net.py:make"
inputs = ["image=1x1x8x8:float32:0..1"]

[models.pose]
model = "pkg.pose:make"
labelled = "digits"

[models.gone]
model = "gone.onnx"
"""


def in_pyproject(text: str) -> str:
    return '[project]\nname = "x"\n' + text.replace("[models", "[tool.edgeconv.models")


@pytest.fixture
def net(write):
    return write("net.py", "")


@pytest.mark.parametrize("name", ["edgeconv.toml", "pyproject.toml"])
def test_two_of_three_are_picked_in_the_order_they_are_named(write, tmp_path, net, name):
    write(name, DECLARED if name == "edgeconv.toml" else in_pyproject(DECLARED))
    found = project.find(tmp_path)
    assert list(found.models) == ["face", "pose", "gone"]
    pose, face = project.pick(found, ["pose", "face"])  # that the third one's file is missing is no matter
    assert (pose.name, pose.module, pose.factory, pose.labelled) == ("pose", "pkg.pose", "make", "digits")
    assert (face.name, face.file, face.inputs[0].high) == ("face", net, 1.0)


def test_a_model_whose_file_is_missing_is_named(write, tmp_path, net):
    path = write("edgeconv.toml", DECLARED)
    with pytest.raises(BrokenModelFile, match=rf"model 'gone' in {path}: .*gone\.onnx does not exist"):
        project.pick(project.find(tmp_path), [])


def test_the_nearest_project_counts_and_paths_start_from_it(write, tmp_path, net):
    write("edgeconv.toml", DECLARED)
    write("sub/pyproject.toml", '[project]\nname = "other"\n')
    (tmp_path / "sub" / "deep").mkdir()
    found = project.find(tmp_path / "sub" / "deep")
    assert found.base == tmp_path
    assert project.pick(found, ["face"])[0].file == net
    write("sub/edgeconv.toml", "")
    assert project.find(tmp_path / "sub" / "deep").models == {}


def test_edgeconv_toml_comes_before_pyproject(write, tmp_path):
    write("pyproject.toml", in_pyproject(DECLARED))
    write("edgeconv.toml", '[models.other]\nmodel = "a.b:c"\n')
    assert list(project.find(tmp_path).models) == ["other"]


def test_the_same_name_twice_is_run_once(write, tmp_path, net):
    write("edgeconv.toml", DECLARED)
    assert len(project.pick(project.find(tmp_path), ["face", "face"])) == 1


@pytest.mark.parametrize(("name", "hint"), [("fase", "did you mean face"), ("zzz", "declared are: face, pose, gone")])
def test_an_undeclared_model(write, tmp_path, name, hint):
    write("edgeconv.toml", DECLARED)
    with pytest.raises(ProjectError, match=rf"no model '{name}' is declared in .*edgeconv\.toml") as caught:
        project.pick(project.find(tmp_path), [name])
    assert hint in caught.value.hint


def test_an_undeclared_model_where_nothing_is_declared(tmp_path):
    with pytest.raises(ProjectError, match="no model 'x' is declared") as caught:
        project.pick(project.find(tmp_path), ["x"])
    assert "--model" in caught.value.hint


@pytest.mark.parametrize(
    ("file", "text", "says", "hint"),
    [
        ("edgeconv.toml", "[models.a\n", "no valid TOML", "fix that line"),
        ("edgeconv.toml", "\n[model.a]\nmodel = 'x.y:z'", "line 2: unknown key 'model'", "'models'"),
        ("edgeconv.toml", "models = 3", "line 1: `models` must be a section", "[models.NAME]"),
        ("edgeconv.toml", "[models]\na = 3", "line 2: models.a: must be a section", "keys: model"),
        ("edgeconv.toml", "[models.a]\nwheights = 'x'\nmodel = 'a.b:c'", "line 2: models.a.wheights: unk", "'weights'"),
        ("edgeconv.toml", "[models.a]\ninputs = []", "line 1: models.a.model: is missing", "keys: model"),
        ("edgeconv.toml", "[models.a]\nmodel = 3", "line 2: models.a.model: input should be a valid string", ""),
        ("edgeconv.toml", "[models.a]\nmodel='a.b:c'\ninputs='x=1'", "line 3: models.a.inputs: input should be", ""),
        ("pyproject.toml", "[tool]\nedgeconv = 3", "line 2: [tool.edgeconv] must be a section", "[models.NAME]"),
        ("pyproject.toml", "[tool.edgeconv]\nmodel = 3", "line 2: unknown key 'model'", "'models'"),
        ("pyproject.toml", "[tool.edgeconv.models.a]\nx = 3", "line 2: tool.edgeconv.models.a.x: unknown key", ""),
    ],
)
def test_a_broken_declaration_is_named_with_its_line(write, tmp_path, file, text, says, hint):
    path = write(file, text)
    with pytest.raises(ProjectError) as caught:
        project.find(tmp_path)
    assert caught.value.message.startswith(str(path))
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nother = 3", ""])
def test_a_pyproject_of_others_declares_nothing(write, tmp_path, text):
    write("pyproject.toml", text)
    assert project.find(tmp_path).models == {}


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("[models.a]\nmodel = 'net.py:make'\ninputs = ['image']", InputMismatch, "cannot read the input spec 'image'"),
        ("[models.a]\nmodel = 'net.py'", UsageError, "cannot read the model reference 'net.py'"),
        ("[models.'../a']\nmodel = 'net.py:make'", UsageError, "cannot be a folder's name"),
    ],
)
def test_what_a_model_says_wrong_is_said_of_that_model(write, tmp_path, net, text, kind, says):
    write("edgeconv.toml", text)
    with pytest.raises(kind, match=r"^model '(\.\./)?a' in .*edgeconv\.toml: ") as caught:
        project.pick(project.find(tmp_path), [])
    assert says in caught.value.message
