"""Shared by all tests: a folder of the user's own, the command line as a process, and models loaded in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(sys.executable).with_name("edgeconv")

#: A model so small that only imports take time; factories below it are what tests name.
NET = """\
import torch
from torch import nn

EXAMPLE = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)


class Net(nn.Module):
    def __init__(self, tail=None):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.tail = tail or nn.Identity()

    def forward(self, image):
        return self.tail(self.head(torch.relu(self.conv(image)).mean((2, 3))))


def make():
    return Net().eval(), (EXAMPLE,)


def alone():
    return Net().eval()
"""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cli:
    """The command line, run in a folder with a cache of its own."""

    folder: Path
    cache: Path

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        environment = {**os.environ, "EDGECONV_CACHE": str(self.cache), "COLUMNS": "200", **options.pop("env", {})}
        return subprocess.Popen(
            [str(SCRIPT), *arguments], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def __call__(self, *arguments: str, **options: Any) -> Said:
        process = self.start(*arguments, **options)
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
        return Said(process.returncode, out, err)

    def refuses(self, *arguments: str, code: int, says: str = "", **options: Any) -> Said:
        """Run what must end in one clear sentence, its exit code, and nothing lost or left behind."""
        said = self(*arguments, **options)
        assert said.code == code, said
        assert_one_sentence(said)
        assert says in said.err, said.err
        self.is_clean()
        return said

    def is_clean(self) -> None:
        """Verify finds nothing, no work is left over, and no artifact is half written."""
        from edgeconv.store import Store

        assert Store(self.cache).verify() == []
        assert list(self.cache.glob("*/work/*/*")) == []
        for folder in (self.folder / "artifacts").glob("*/*"):
            assert {path.suffix for path in folder.iterdir()} == {".tflite", ".json"}, folder


def assert_one_sentence(said: Said) -> None:
    assert "Traceback" not in said.err + said.out, said
    sentences = [line for line in said.err.splitlines() if line.startswith("error")]
    assert len(sentences) == 1, said.err
    after = said.err.splitlines()[said.err.splitlines().index(sentences[0]) + 1 :]
    assert len(after) == 1, said.err
    assert after[0].startswith("try: "), said.err
    assert len(after[0]) > len("try: "), said.err


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a file of the user's; returns its path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def cli(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, write: Callable[[str, str], Path]) -> Cli:
    """The command line in `tmp_path`, where net.py holds NET."""
    write("net.py", NET)
    return Cli(tmp_path, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def load(tmp_path: Path, write: Callable[[str, str], Path]) -> Iterator[Callable[..., Any]]:
    """Load a model as a worker does, in this process; the text of a net.py may be given."""
    from edgeconv.source import loading, parse_input, parse_reference

    path, modules = list(sys.path), set(sys.modules)
    write("net.py", NET)

    def load(reference: str, text: str = "", inputs: tuple[str, ...] = (), **options: Any) -> Any:
        if text:
            write("net.py", NET + text)
        specs = tuple(parse_input(one) for one in inputs)
        for name in [name for name in set(sys.modules) - modules if _is_below(name, tmp_path)]:
            del sys.modules[name]
        loading._loaded.clear()
        return loading.load(parse_reference(reference, base=tmp_path, inputs=specs, **options))

    yield load
    sys.path[:] = path
    for name in [name for name in set(sys.modules) - modules if _is_below(name, tmp_path)]:
        del sys.modules[name]
    loading._loaded.clear()


def _is_below(name: str, folder: Path) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(file) and Path(file).is_relative_to(folder)
