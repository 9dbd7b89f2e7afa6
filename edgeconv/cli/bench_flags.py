"""Which flags of `edgeconv bench` a device can hold to. One that was given and cannot apply is refused, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeconv.errors import UsageError

_LIMITS = "leave it out: it limits a process of this machine"
_NOT_MEASURED = "leave it out: a device measures neither memory nor the time of each op"

#: By parameter: its flag, the kinds of device for which it means something, and what to do elsewhere.
_KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "cpus": ("--cpus", ("host",), _LIMITS),
    "nice": ("--nice", ("host",), _LIMITS),
    "memory_mb": ("--memory-mb", ("host",), _LIMITS),
    "memory": ("--memory", ("host",), _NOT_MEASURED),
    "ops": ("--ops", ("host",), _NOT_MEASURED),
    "min_runs": ("--min-runs", ("host", "adb"), "leave it out: --repeats says in how many processes to count"),
    "min_seconds": ("--min-seconds", ("host", "adb"), "leave it out: a count takes no least time"),
    "repeats": ("--repeats", ("arm", "callgrind", "adb"), "leave it out: --min-runs says how many invokes to time"),
    "runner": ("--runner", ("adb",), "leave it out, or measure with --device adb"),
    "cooldown": ("--cooldown", ("adb",), "leave it out, or measure with --device adb"),
}


def given(context: Any, name: str) -> bool:
    """Whether the user wrote this parameter's flag on the command line; a default or a variable is not that."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"  # by name: typer may bring a click of its own


def refuse_idle(context: Any, device: str) -> None:
    """Refuse the first given flag that the device cannot hold to.

    Args:
        context: click's, of the command.
        device: as named by --device; one that does not exist is for others to refuse.

    Raises:
        UsageError: names the flag and the device.
    """
    kind = device.partition(":")[0]
    if kind not in {"host", "arm", "callgrind", "adb"}:
        return
    for name, (flag, kinds, hint) in _KINDS.items():
        if kind not in kinds and given(context, name):
            shown = flag.replace("--", "--no-") if context.params[name] is False else flag
            raise UsageError(f"{shown} does not apply to --device {device}", hint=hint)


def refuse_limits(target: str | None, device: str) -> None:
    """Refuse a target whose limits hold for processes of this machine only.

    Args:
        target: its name; None: none was asked for.
        device: as named by --device, not the host.

    Raises:
        UsageError: names the limits.
        TargetError: there is no such target.
    """
    from edgeconv import target as targets

    if target is None:
        return
    harness = targets.load(target, Path.cwd()).harness
    named = [name for name in ("cores", "niceness", "memory_mb") if getattr(harness, name) is not None]
    if named:
        raise UsageError(
            f"the target {target!r} limits {', '.join(named)}, which --device {device} cannot hold to",
            hint="leave out --target, and say its runtimes with --runtime",
        )
