from __future__ import annotations

import pytest

from edgeconv import tomlfile
from edgeconv.errors import TargetError

TEXT = """\
summary = "x"
stages = ["a"]
harness.seeds = 3

[one]
mode = "a"

[two]  # the same option
mode = "b"
"quoted key" = 1
budget = { tflite = 3 }

[models.face]
model = "x"

[[steps]]
op = "scale"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("stages", 2), ("harness.seeds", 3), ("one", 5), ("one.mode", 6), ("two.mode", 9), ("two.quoted key", 10),
        ("two.budget.tflite", 11), ("models.face", 13), ("models.face.weights", 13), ("models.face.model", 14),
        ("steps", 16), ("absent", None), ("two.absent", 8),
    ],
)  # fmt: skip
def test_a_key_is_found_in_its_own_section(write, key, line):
    path = write("x.toml", TEXT)
    assert tomlfile.line_of(path, key) == line
    assert tomlfile.place(path, key) == (f"{path}, line {line}" if line else str(path))


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = \n", 2), ("a = 1\n[b\n", 2), ('a = 1\nb = """x\n', 2), ("a = 1\na = 2\n", 2)]
)
def test_broken_toml_names_the_line(write, text, line):
    path = write("x.toml", text)
    with pytest.raises(TargetError, match=rf"{path} is no valid TOML.*line {line}") as caught:
        tomlfile.read(path, TargetError)
    assert caught.value.hint


def test_a_file_that_is_no_text_or_no_file(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match="no UTF-8"):
        tomlfile.read(tmp_path / "x.toml", TargetError)
    with pytest.raises(TargetError, match="cannot be read: Is a directory"):
        tomlfile.read(tmp_path, TargetError)
    assert tomlfile.place(tmp_path / "gone.toml", "x") == str(tmp_path / "gone.toml")
