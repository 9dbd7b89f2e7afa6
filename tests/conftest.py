"""Shared by all tests: a folder of the user's own, the command line as a process, and models loaded in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import Cli

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
