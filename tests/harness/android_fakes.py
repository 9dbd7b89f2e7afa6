"""A stand-in for `adb` and the device behind it: a folder is the device's file system, its shell is this machine's.

The runner that the tests push is a script that runs the file in LiteRT here and prints what benchmark_model prints.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADB = """\
#!{python}
import json, os, pathlib, shutil, subprocess, sys

state = json.loads(pathlib.Path({state!r}).read_text())
device = pathlib.Path({device!r})
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")

def end(text, code=1):
    print(text, file=sys.stderr)
    sys.exit(code)

if arguments == ["devices"]:
    print("* daemon started successfully")
    print("List of devices attached")
    for serial, what in state["devices"].items():
        print(f"{{serial}}\\t{{what}}")
    sys.exit()
assert arguments[0] == "-s"
serial, verb, *rest = arguments[1:]
if state["gone_at"] == verb:
    end(f"adb: device '{{serial}}' not found")

def there(path):
    return device / path.lstrip("/")

if verb == "push":
    if state["full"]:
        end(f"adb: error: failed to copy '{{rest[0]}}' to '{{rest[1]}}': remote couldn't write file: No space left on device")
    shutil.copy(rest[0], there(rest[1]))
elif verb == "pull":
    if not there(rest[0]).exists():
        end(f"adb: error: failed to stat remote object '{{rest[0]}}': No such file or directory")
    shutil.copy(there(rest[0]), rest[1])
elif verb == "shell":
    command = rest[0].replace("/data/local/tmp", str(device / "data/local/tmp"))
    path = str(device / "bin") + os.pathsep + os.environ["PATH"]
    done = subprocess.run(["sh", "-c", command], env={{**os.environ, "PATH": path}}, stdout=subprocess.PIPE)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.exit(0)  # as old devices do, whatever the command's exit code
"""

RUNNER = """\
#!{python}
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter

flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
start = time.perf_counter()
interpreter = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
interpreter.allocate_tensors()
init = (time.perf_counter() - start) * 1e6
details = interpreter.get_input_details()
values = dict(pair.split(":") for pair in flags.get("input_layer_value_files", "").split(",") if pair)
for entry in details:
    name = entry["name"]
    if name in values:
        array = np.fromfile(values[name], entry["dtype"]).reshape(entry["shape"])
    else:
        array = np.zeros(entry["shape"], entry["dtype"])
    interpreter.set_tensor(entry["index"], array)
times = []
for _ in range(1 + int(flags["num_runs"])):
    start = time.perf_counter()
    interpreter.invoke()
    times.append((time.perf_counter() - start) * 1e6)
if "output_filepath" in flags and {writes}:
    with open(flags["output_filepath"], "wb") as stream:
        for entry in interpreter.get_output_details():
            stream.write(interpreter.get_tensor(entry["index"]).tobytes())
print("INFO: STARTING!")
print(f"INFO: count=1 curr={{times[0]:.0f}}")
print(f"INFO: count={{len(times) - 1}} first={{times[1]:.0f}} curr={{times[-1]:.0f}} "
      f"min={{min(times[1:]):.0f}} max={{max(times[1:]):.0f}} "
      f"avg={{np.mean(times[1:]):.2f}} std=1" + f" p5=1 median={{np.median(times[1:]):.0f}} p95=9")
print(f"INFO: Inference timings in us: Init: {{init:.0f}}, First inference: {{times[0]:.0f}}, Warmup (avg): 1, ...")
print("INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.25")
"""

COMMANDS = {
    "getprop": 'case $1 in ro.product.model) echo Phone;; ro.product.cpu.abi) echo {abi};; *) echo "";; esac',
    "dumpsys": 'if [ $1 = thermalservice ]; then echo "Thermal Status: {heat}"; else echo "  level: 80"; '
    'echo "  USB powered: true"; fi',
    "df": 'echo "Filesystem 1K-blocks Used Available Use% Mounted on"; echo "/dev/block 100 50 {free} 50% /data"',
    "settings": "echo {saving}",
}


@dataclass
class Phone:
    """What the stand-in plays; `place` writes it down."""

    folder: Path
    devices: dict[str, str] = field(default_factory=lambda: {"PHONE1": "device"})
    abi: str = "arm64-v8a"
    heat: int | None = 0
    free_kb: int = 1_000_000
    saving: int = 0
    full: bool = False
    gone_at: str = ""

    def place(self) -> Path:
        """Write `adb` and the device; returns the folder that PATH needs."""
        device, programs = self.folder / "device", self.folder / "programs"
        for folder in (device / "bin", device / "data/local/tmp", programs):
            folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {"devices": self.devices, "full": self.full, "gone_at": self.gone_at}
        (self.folder / "state.json").write_text(json.dumps(state))
        told = {
            "abi": self.abi,
            "heat": "" if self.heat is None else self.heat,
            "free": self.free_kb,
            "saving": self.saving,
        }
        for name, text in COMMANDS.items():
            script(device / "bin" / name, "#!/bin/sh\n" + text.format(**told) + "\n")
        places = {"state": str(self.folder / "state.json"), "device": str(device), "log": str(self.folder / "log")}
        script(programs / "adb", ADB.format(python=sys.executable, **places))
        return programs

    def left(self) -> list[str]:
        """What lies in the device's temporary folder."""
        return sorted(path.name for path in (self.folder / "device/data/local/tmp").iterdir())

    def asked(self) -> list[list[str]]:
        """The commands that adb was given."""
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def runner(folder: Path, *, writes: bool = True) -> Path:
    """A benchmark_model that runs here."""
    return script(folder / "benchmark_model", RUNNER.format(python=sys.executable, writes=writes))
