"""Shared by the store's tests: a store, keys, and processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeconv.fingerprint import of_bytes
from edgeconv.store import Record, Store

CHILD = Path(__file__).with_name("store_child.py")
Child = subprocess.Popen[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root)


@pytest.fixture
def key() -> Callable[[object], str]:
    return lambda name: of_bytes(str(name).encode())


@pytest.fixture
def put(store: Store, tmp_path: Path) -> Callable[[str, bytes], Record]:
    """Publish bytes as a file."""

    def publish(key: str, data: bytes) -> Record:
        (tmp_path / "built").write_bytes(data)
        return store.publish(key, tmp_path / "built", {})

    return publish


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets" / "none").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph" * 1000)
    (folder / "variables" / "data").write_bytes(b"weights" * 1000)
    (folder / "variables" / "copy").write_bytes(b"weights" * 1000)
    (folder / "nothing").write_bytes(b"")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def child(root: Path) -> Iterator[Callable[..., Child]]:
    """Start a process of its own on the same root; `child(command, *args)`."""
    started: list[Child] = []
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def start(command: str, *args: object) -> Child:
        process = subprocess.Popen(
            [sys.executable, str(CHILD), command, str(root), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
