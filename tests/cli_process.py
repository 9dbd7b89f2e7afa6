"""The command line as a process, and what a refusal must look like."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(sys.executable).with_name("edgeconv")


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
