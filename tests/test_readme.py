"""The README says what is true: its commands exist and its TOML is valid."""

import re
from pathlib import Path

from edgeconv import target as targets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def test_the_first_two_shell_blocks_are_one_line_each_and_ci_runs_the_second():
    first, second = blocks("sh")[:2]
    assert first.count("\n") == second.count("\n") == 1
    assert first.strip().endswith("edgeconv run --target android")
    assert second.startswith("pip install -e '.[dev]' && scripts/test")
    assert "^pip install -e '.\\[dev\\]'" in (ROOT / ".ci" / "run").read_text()


def test_the_target_example_parses(tmp_path):
    text = next(block for block in blocks("toml") if block.startswith("stages"))
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert targets.parse(path).acceptance.max_bytes == 5_000_000


def test_the_project_example_parses(tmp_path):
    from edgeconv import project

    text = next(block for block in blocks("toml") if block.startswith("[models"))
    (tmp_path / "edgeconv.toml").write_text(text)
    (tmp_path / "nets.py").write_text("")
    (tmp_path / "face.safetensors").write_bytes(b"")
    assert list(project.find(tmp_path).models) == ["face"]


def test_linked_files_exist():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link
