"""Talks to one attached Android device through the `adb` executable, and says in one sentence what stands in the way."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgeconv.errors import DeviceMissing, DeviceRefused, EdgeconvError, MeasurementError

#: Where a shell user may write and execute on every Android.
TEMPORARY = "/data/local/tmp"

#: What is printed behind a command's output: older devices do not pass its exit code on.
_EXIT = "edgeconv-exit"

_STATES = {
    "unauthorized": ("has not allowed this computer", "unlock it and accept the question about USB debugging"),
    "offline": ("is offline", "unplug and plug it in again, or `adb reconnect`"),
    "no permissions": (
        "may not be opened by this user",
        "add the udev rule that `adb devices` names, then plug it in again",
    ),
    "recovery": ("is in recovery mode", "start it normally"),
    "sideload": ("is in sideload mode", "start it normally"),
    "bootloader": ("is in its bootloader", "start it normally"),
}


@dataclass(frozen=True)
class Adb:
    """The executable, and the device that it is told to use.

    Attributes:
        program: path of `adb`.
        serial: of the device.
    """

    program: str
    serial: str

    def run(self, *arguments: str, seconds: float = 60.0) -> str:
        """One adb command; its output. Raises DeviceMissing, DeviceRefused, MeasurementError."""
        return _run([self.program, "-s", self.serial, *arguments], seconds, self.serial)

    def shell(self, command: str, seconds: float = 60.0) -> tuple[int, str]:
        """A command of the device's shell: exit code and output, standard error among it."""
        out = self.run("shell", f"( {command}\n) 2>&1; echo {_EXIT}=$?", seconds=seconds)
        text, mark, code = out.rpartition(f"{_EXIT}=")
        if not mark or not code.strip().isdigit():
            raise DeviceMissing(
                f"the device {self.serial} went away while it worked", hint="check the cable, then run again"
            )
        return int(code), text.replace("\r\n", "\n")

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the device. Raises DeviceRefused if it is full."""
        self.run("push", str(source), target, seconds=600.0)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the device."""
        self.run("pull", source, str(target), seconds=600.0)


def connect(serial: str) -> Adb:
    """The attached device of that serial, or the only one.

    Raises:
        DeviceMissing: no adb, no device, or none of that serial.
        DeviceRefused: several and no serial, or one that is not ready: unauthorized, offline, …
    """
    program = _program()
    listing = _run([program, "devices"], 60.0, "")
    found = dict(_entries(listing))
    if not found:
        raise DeviceMissing(
            "adb sees no device", hint="connect one by USB and switch on USB debugging in its developer options"
        )
    if serial and serial not in found:
        raise DeviceMissing(f"adb sees no device {serial!r}", hint=f"it sees: {', '.join(found)}")
    if not serial and len(found) > 1:
        raise DeviceRefused(
            f"adb sees {len(found)} devices: {', '.join(found)}",
            hint=f"say which one: --device adb:{next(iter(found))}",
        )
    chosen = serial or next(iter(found))
    state = found[chosen]
    if state != "device":
        known = next((text for name, text in _STATES.items() if state.startswith(name)), None)
        what, hint = known or (f"is in the state {state!r}", "see `adb devices`")
        raise DeviceRefused(f"the device {chosen} {what}", hint=hint)
    return Adb(program, chosen)


def _program() -> str:
    """`adb` on the path, or in the Android SDK that the environment names."""
    for folder in (None, *(os.environ.get(name) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"))):
        place = shutil.which("adb") if folder is None else shutil.which(str(Path(folder) / "platform-tools" / "adb"))
        if place:
            return place
    raise DeviceMissing(
        "there is no adb here", hint="install Android's platform-tools (on Debian: adb), or set ANDROID_HOME"
    )


def _entries(listing: str) -> list[tuple[str, str]]:
    """Serial and state of each line of `adb devices`."""
    rows = [line.partition("\t") for line in listing.splitlines() if "\t" in line and not line.startswith("*")]
    return [(serial.strip(), state.strip()) for serial, _, state in rows]


def _run(command: list[str], seconds: float, serial: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        what = f"the device {serial}" if serial else "adb"
        raise MeasurementError(
            f"{what} gave no answer within {seconds:g} s", hint="raise --time-limit, or `adb kill-server` and run again"
        ) from error
    except OSError as error:
        raise DeviceMissing(
            f"{command[0]} does not start: {error.strerror}", hint="install Android's platform-tools"
        ) from error
    if done.returncode:
        raise _failure(f"{done.stderr}\n{done.stdout}", serial)
    return done.stdout


def _failure(text: str, serial: str) -> EdgeconvError:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("*")] or [
        "without a word"
    ]
    told = next((line for line in lines if "error" in line.lower() or "failed" in line.lower()), lines[0])
    if "No space left" in text:
        return DeviceRefused(f"the device {serial} is full", hint=f"free space on it; edgeconv needs it in {TEMPORARY}")
    if re.search(r"device .*not found|no devices|device offline|closed$", told):
        return DeviceMissing(f"the device {serial} went away: {told[:200]}", hint="check the cable, then run again")
    if "unauthorized" in text:
        what, hint = _STATES["unauthorized"]
        return DeviceRefused(f"the device {serial} {what}", hint=hint)
    return MeasurementError(f"adb failed: {told[:300]}", hint="see what `adb devices` says", detail=text[-4000:])


class Folder:
    """A folder on the device for one measurement; goes away with it. Use as a context manager.

    Args:
        adb: the device.
        bytes_needed: what will be pushed.

    Raises:
        DeviceRefused: there is not that much space.
    """

    def __init__(self, adb: Adb, bytes_needed: int) -> None:
        self._adb = adb
        self._needed = bytes_needed
        self.path = f"{TEMPORARY}/edgeconv-{secrets.token_hex(6)}"

    def __enter__(self) -> Folder:
        free = self._free()
        if free is not None and free < self._needed:
            raise DeviceRefused(
                f"the device {self._adb.serial} has {free / 1e6:.0f} MB free in {TEMPORARY}, {self._needed / 1e6:.0f} MB are "
                "needed",
                hint="free space on it",
            )
        code, text = self._adb.shell(f"mkdir -p {self.path}")
        if code:
            raise _failure(text, self._adb.serial)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._adb.shell(f"rm -rf {self.path}")
        except EdgeconvError:
            if error is None:  # otherwise the first error is the one to tell
                raise

    def file(self, name: str) -> str:
        """Path of a file in it."""
        return f"{self.path}/{name}"

    def _free(self) -> int | None:
        """Free bytes; None where `df` does not tell."""
        code, text = self._adb.shell(f"df -k {TEMPORARY}")
        rows = [line.split() for line in text.splitlines()[1:] if line.strip()]
        if code or not rows or len(rows[-1]) < 4 or not rows[-1][-3].isdigit():
            return None
        return int(rows[-1][-3]) * 1024


def quoted(*arguments: str) -> str:
    """A command line for the device's shell."""
    return " ".join(shlex.quote(argument) for argument in arguments)
