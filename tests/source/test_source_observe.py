from __future__ import annotations

import py_compile
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgeconv.source import Snapshot, parse_reference

PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/model.py": "from pkg.layers import Block\nimport torch\n\ndef make():\n    return Block().eval(), (torch.ones(1, 3),)\n",
    "pkg/layers.py": "import torch\n\nclass Block(torch.nn.Linear):\n    def __init__(self): super().__init__(3, 2)\n",
    "pkg/unused.py": "x = 1\n",
    "notes.txt": "nothing\n",
}


@pytest.fixture
def package(write):
    for name, text in PACKAGE.items():
        write(name, text)


def names(loaded) -> set[str]:
    return set(loaded.snapshot.files)


def test_own_modules_are_recorded_and_packages_by_version(load, package):
    snapshot = load("pkg.model:make").snapshot
    assert set(snapshot.files) == {"pkg", "pkg.model", "pkg.layers"}
    assert snapshot.changes() == []


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("pkg/unused.py", "x = 2\n", []),
        ("notes.txt", "something\n", []),
        ("new.py", "x = 1\n", []),
        ("pkg/layers.py", PACKAGE["pkg/layers.py"] + "# a comment\n", ["pkg.layers"]),
        ("pkg/model.py", PACKAGE["pkg/model.py"].replace("3", "3 "), ["pkg.model"]),
    ],
)
def test_what_a_change_of_a_file_changes(load, package, write, tmp_path, file, text, changes):
    source = parse_reference("pkg.model:make", base=tmp_path)
    snapshot = load("pkg.model:make").snapshot
    before = snapshot.digest(source)
    write(file, text)
    assert snapshot.changes() == changes
    after = load("pkg.model:make").snapshot.digest(source)
    assert (after == before) == (not changes)


def test_a_file_that_is_gone_is_a_change(load, package, tmp_path):
    snapshot = load("pkg.model:make").snapshot
    (tmp_path / "pkg" / "layers.py").unlink()
    assert snapshot.changes() == ["pkg.layers"]


def test_a_package_of_another_version_is_a_change():
    assert Snapshot({}, {"torch": "0.1", "numpy": ""}).changes() == ["numpy", "torch"]
    assert Snapshot({}, {"no-such-distribution": ""}).changes() == []


@pytest.mark.parametrize("reference", ["pkg.model:make", "pkg/model.py:make"])
def test_moving_the_folder_changes_nothing(load, package, tmp_path, reference, monkeypatch):
    """Module names, file names and content count, not the place."""
    import sys

    from edgeconv.source import loading

    before = load(reference).snapshot
    digest = before.digest(parse_reference(reference, base=tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] in {"pkg", "model"}]:
        monkeypatch.delitem(sys.modules, name)
    sys.path[:] = [entry for entry in sys.path if not Path(entry or ".").is_relative_to(tmp_path)]
    other = tmp_path / "elsewhere" / "deep"
    shutil.copytree(tmp_path / "pkg", other / "pkg", ignore=shutil.ignore_patterns("__pycache__"))
    moved = parse_reference(reference, base=other)
    after = loading.load(moved).snapshot
    assert all("elsewhere" in entry["path"] for entry in after.files.values())
    assert after.digest(moved) == digest
    assert moved.identity() != parse_reference(reference, base=tmp_path).identity()


def test_the_name_the_factory_and_the_inputs_are_part_of_the_digest(load, tmp_path):
    source = parse_reference("net.py:make", base=tmp_path)
    snapshot = load("net.py:make").snapshot
    other = load("net.py:alone", inputs=("image=1x1x9x9",)).snapshot
    assert snapshot.digest(source) != snapshot.digest(parse_reference("net.py:alone", base=tmp_path))
    assert snapshot.digest(source) != other.digest(source)
    assert snapshot.digest(source) == snapshot.digest(parse_reference("net.py:make", base=tmp_path, name="other"))


def test_snapshots_cross_a_process_boundary(load):
    snapshot = load("net.py:make").snapshot
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


# files


def test_the_checkpoint_is_recorded(load, tmp_path):
    state = load("net.py:make").module.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    snapshot = load("net.py:make", weights="w.safetensors").snapshot
    assert "file:w.safetensors" in snapshot.files
    save_file({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "w.safetensors")
    assert snapshot.changes() == ["file:w.safetensors"]


READS = """
import json
from pathlib import Path
HERE = Path(__file__).parent

def reads():
    {reads}
    return Net().eval(), EXAMPLE
"""


@pytest.mark.parametrize(
    "reads",
    [
        "json.loads((HERE / 'data.json').read_text())",
        "open(HERE / 'data.json', 'rb').read()",
        "exec((HERE / 'config.py').read_text(), {})",
        "import runpy; runpy.run_path(str(HERE / 'config.py'))",
        "torch.load(HERE / 'w.pt')",
        "from safetensors.torch import load_file; load_file(HERE / 'w.safetensors')",
        "import safetensors; safetensors.safe_open(HERE / 'w.safetensors', 'pt')",
        "import os; os.close(os.open(HERE / 'data.json', os.O_RDONLY))",
    ],
)
def test_files_that_the_factory_reads_are_part_of_the_model(load, write, tmp_path, reads):
    write("data.json", "{}")
    write("config.py", "x = 1\n")
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors")
    (read,) = {name for name in ("data.json", "config.py", "w.pt", "w.safetensors") if name in reads}
    snapshot = load("net.py:reads", READS.format(reads=reads)).snapshot
    assert set(snapshot.files) == {"net", f"file:{read}"}
    (tmp_path / read).write_text("changed")
    assert snapshot.changes() == [f"file:{read}"]


@pytest.mark.parametrize(
    "writes",
    [
        "(HERE / 'out.txt').write_text('x')",
        "open(HERE / 'out.txt', 'a').close()",
        "import os; os.close(os.open(HERE / 'out.txt', os.O_RDWR | os.O_CREAT))",
        "open('/proc/cpuinfo').read()",
        "import torch.nn.functional; open(torch.__file__).read()",
        "(HERE / 'gone.txt').write_text('x'); (HERE / 'gone.txt').read_text(); (HERE / 'gone.txt').unlink()",
    ],
)
def test_files_that_are_written_or_the_systems_are_not(load, writes):
    assert names(load("net.py:reads", READS.format(reads=writes))) == {"net"}


def test_a_helper_counts_whether_or_not_python_has_compiled_it(load, write, tmp_path):
    write("helper.py", "x = 1\n")
    text = "def helped():\n    import helper, sys\n    del sys.modules['helper']\n    return Net().eval(), EXAMPLE\n"
    first = load("net.py:helped", text)
    py_compile.compile(str(tmp_path / "helper.py"))
    second = load("net.py:helped", text)
    assert names(first) == names(second) == {"net", "file:helper.py"}


def test_what_the_forward_imports_is_part_of_the_model(load, write):
    write("late.py", "factor = 2\n")
    text = "class Late(nn.Module):\n    def forward(self, x):\n        import late\n        return x * late.factor\n"
    loaded = load("net.py:late", text + "def late(): return Net(Late()).eval(), EXAMPLE\n")
    assert names(loaded) == {"net", "late"}


def test_two_files_of_one_name_are_told_apart_by_their_folders_alone(load, write):
    write("a/data.json", "{}")
    write("b/data.json", "{}")
    reads = "(HERE / 'a' / 'data.json').read_text(); (HERE / 'b' / 'data.json').read_text()"
    assert names(load("net.py:reads", READS.format(reads=reads))) == {"net", "file:data.json", "file:b/data.json"}


def test_the_bundled_sample_is_a_model_like_any_other(tmp_path, load):
    loaded = load("edgeconv.models.sample:digits")
    assert "file:digits.safetensors" in names(loaded)
    assert {name for name in names(loaded) if name.startswith("edgeconv.")} <= {
        "edgeconv.models",
        "edgeconv.models.sample",
    }
