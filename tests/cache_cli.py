"""For the tests of the cache's promises: a tiny model in a folder of its own, and the command line as a process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

MODEL = """\
import torch


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.head = torch.nn.Linear(8 * 8 * 8, 10)

    def forward(self, image):
        return self.head(torch.relu(self.conv(image)).flatten(1))


def make():
    torch.manual_seed(7)
    return Tiny().eval(), (torch.rand(1, 3, 8, 8),)
"""

TARGET = """\
stages = ["onnx", "quantize", "saved_model", "tflite"]

[tflite]
min_runtime = "{min_runtime}"

[harness]
runtimes = ["litert"]
seeds = 1
min_runs = 5
min_seconds = 0
"""

STEPS = ["onnx", "quantize", "saved_model", "tflite"]

_HEX = "[0-9a-f]{64}"
ACCOUNTED = re.compile(
    rf"blobs/{_HEX}|(records|notes)/{_HEX}\.json|quarantine/{_HEX}(\.json)?\.[0-9a-f]{{16}}|(gc|turn|mutex)\.lock"
    r"|events\.jsonl|blobs|records|notes|locks|work|quarantine"
)


@dataclass
class Desk:
    """A user's folder with a model and a target, a cache, and a folder for temporary files that nobody else uses."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("user/targets", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not self.model.exists():
            self.model.write_text(MODEL)
            self.target()

    @property
    def user(self) -> Path:
        return self.folder / "user"

    @property
    def model(self) -> Path:
        return self.user / "tiny.py"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def result(self) -> Path:
        return self.user / "artifacts" / "tiny" / "phone"

    def target(self, min_runtime: str = "2.14.0") -> None:
        (self.user / "targets" / "phone.toml").write_text(TARGET.format(min_runtime=min_runtime))

    def tflite(self) -> bytes:
        return (self.result / "tiny.tflite").read_bytes()

    def forget(self) -> None:
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.rmtree(self.user / "artifacts", ignore_errors=True)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "edgeconv", *words]

    def environ(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {
            **os.environ, "PYTHONPATH": path, "EDGECONV_CACHE": str(self.cache), "TMPDIR": str(self.tmp),
            "EDGECONV_TEST_MARK": self.mark, **self.environment, **more,
        }  # fmt: skip

    def run_words(self, *more: str, model: str = "tiny.py:make") -> list[str]:
        return self.command("run", "-t", "phone", "--model", model, "--name", "tiny", "--json", *more)

    def start(self, *more: str, model: str = "tiny.py:make", **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.run_words(*more, model=model), cwd=self.user, env=self.environ(**environment), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *more: str, model: str = "tiny.py:make", **environment: str) -> dict[str, Any]:
        """One run that must succeed; its report."""
        process = self.start(*more, model=model, **environment)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err + out
        report: dict[str, Any] = json.loads(out)
        return report

    def ask(self, *words: str, code: int = 0) -> Any:
        """Any other command with --json."""
        done = subprocess.run(
            self.command(*words, "--json"), cwd=self.user, env=self.environ(), text=True, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)

    def plan(self, *more: str, model: str = "tiny.py:make") -> dict[str, dict[str, Any]]:
        found = self.ask("plan", "-t", "phone", "--model", model, "--name", "tiny", *more)
        return {step["name"]: step for step in found["plans"][0]["steps"]}

    def strays(self) -> list[str]:
        """Files that nobody can account for: in the cache, beside the results, among temporary files."""
        base = self.cache / "v1"
        found = [path.relative_to(base).as_posix() for path in base.rglob("*")]
        strays = [f"cache/{name}" for name in found if not ACCOUNTED.fullmatch(name)]
        strays += [f"tmp/{path.relative_to(self.tmp)}" for path in self.tmp.rglob("*")]
        wanted = {"tiny", "tiny/phone"} | {
            f"tiny/phone/{n}" for n in ("latency-samples.json", "manifest.json", "report.json", "tiny.tflite")
        }
        artifacts = self.user / "artifacts"
        names = {path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*")}
        return strays + [f"artifacts/{name}" for name in sorted(names ^ wanted)]

    def processes(self) -> list[str]:
        """Command lines of all living processes that were started from this desk."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"EDGECONV_TEST_MARK={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
            except OSError:
                continue
        return found

    def wait_until_alone(self, seconds: float = 20.0) -> list[str]:
        """The processes that are still there after that time; empty as soon as there are none."""
        end = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def copy(self, folder: Path) -> Desk:
        """The same desk at another place, with its cache."""
        shutil.copytree(self.folder, folder)
        return Desk(folder)


def status(report: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in report["steps"]}


def reasons(report: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["reason_kind"] for step in report["steps"]}


def built(report: dict[str, Any]) -> list[str]:
    return [name for name, what in status(report).items() if what == "built"]


def measured(report: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in report["measurements"] if entry["status"] == "measured"]
