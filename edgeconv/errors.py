"""Every way a user's situation can go wrong: one class each, with its own exit code.

    EdgeconvError                1   (base; never raised itself)
    ├── UsageError               2   a flag or an argument does not make sense
    ├── TargetError              3   unknown target, broken TOML, unknown option
    ├── ProjectError             4   broken [tool.edgeconv], unknown model name
    ├── SourceError              5   a model that cannot be had from what was named
    │   ├── ModuleMissing        6   the named module does not exist
    │   ├── ModuleBroken         7   the module exists, its own import fails
    │   ├── FactoryFailed        8   the factory raises or returns no module
    │   ├── WeightsMismatch      9   checkpoint keys or shapes do not fit
    │   ├── InputMismatch       10   input specs do not fit the forward
    │   ├── BrokenModelFile     11   truncated or foreign file
    │   ├── TrainingMode        12   left in training mode, or output depends on it
    │   └── Untrusted           13   loading would execute the file's code
    ├── MissingExtra            14   the converters are not installed
    ├── StageError              20   a stage refused or failed
    │   ├── UnsupportedOp       21   an op that no stage can take
    │   ├── StageCrashed        22   the converter's process died or raised
    │   ├── StageTimeout        23   the time limit ran out
    │   ├── OutOfMemory         24   the converter was killed for memory
    │   ├── BadOutput           25   what a stage built breaks its promise
    │   └── NonFinite           26   NaN or Inf in an output
    ├── StoreError              30   the cache cannot be read or written
    │   └── DiskFull            31   no space left
    ├── CalibrationError        32   a calibration set that is missing, changed or misshapen
    └── MeasurementError        33   a runtime could not run the artifact
        ├── DeviceMissing       36   the device, its tools or their set-up are not there
        └── DeviceRefused       37   a device is there and refuses: unauthorized, offline, full, which one

Exit code 40 means "converted and measured, but rejected by the target's acceptance"; 130 is Ctrl-C.
`edgeconv compare A B` ends with 0 if B is as fast as A, 41 if it is faster, 42 if it is slower, 43 if that could not be told.
A message says what is wrong and where; `hint` says what to try.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

EXIT_REJECTED = 40
#: Of `edgeconv compare`, by its latency verdict on B.
EXIT_COMPARED = {"same": 0, "faster": 41, "slower": 42, "inconclusive": 43}
EXIT_INTERRUPTED = 130


class EdgeconvError(Exception):
    """Base of all errors that a user can meet.

    Args:
        message: one clear sentence: what is wrong, and where.
        hint: what to try next, or empty.
        stage: name of the stage in which it happened, filled in by the pipeline.
        detail: long text (a worker's traceback), shown with `--traceback` only.
        nodes: names of the nodes of the `onnx` stage's graph that it is about, where they are known.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str = "", stage: str = "", detail: str = "", nodes: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.stage = stage
        self.detail = detail
        self.nodes = list(nodes)

    def to_json(self) -> dict[str, Any]:
        """Plain data, so that an error can cross a process boundary or stand in a report."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "stage": self.stage,
            "detail": self.detail,
            "nodes": self.nodes,
        }


class UsageError(EdgeconvError):
    """A flag or an argument does not make sense."""

    exit_code = 2


class TargetError(EdgeconvError):
    """Unknown target, broken target TOML, or an unknown or ill-typed option in it."""

    exit_code = 3


class ProjectError(EdgeconvError):
    """Broken project configuration or a model name that it does not declare."""

    exit_code = 4


class SourceError(EdgeconvError):
    """A model cannot be had from what the user named."""

    exit_code = 5


class ModuleMissing(SourceError):
    """The module or file that the reference names does not exist."""

    exit_code = 6


class ModuleBroken(SourceError):
    """The module exists, but importing it fails inside."""

    exit_code = 7


class FactoryFailed(SourceError):
    """The factory is absent, raises, or returns no module."""

    exit_code = 8


class WeightsMismatch(SourceError):
    """A checkpoint's keys or shapes do not fit the module."""

    exit_code = 9


class InputMismatch(SourceError):
    """Input specs do not fit the model's forward."""

    exit_code = 10


class BrokenModelFile(SourceError):
    """A model file is truncated or not what its name says."""

    exit_code = 11


class TrainingMode(SourceError):
    """The module is in training mode, or its output depends on it."""

    exit_code = 12


class Untrusted(SourceError):
    """Loading the file would execute code from it, and the user did not say `--trust`."""

    exit_code = 13


class MissingExtra(EdgeconvError):
    """The converters are not installed."""

    exit_code = 14


class StageError(EdgeconvError):
    """A stage refused its input or failed."""

    exit_code = 20


class UnsupportedOp(StageError):
    """An op that no stage can take."""

    exit_code = 21


class StageCrashed(StageError):
    """The converter raised, or its process died."""

    exit_code = 22


class StageTimeout(StageError):
    """A stage's time limit ran out."""

    exit_code = 23


class OutOfMemory(StageError):
    """The converter's process was killed for memory or exceeded its limit."""

    exit_code = 24


class BadOutput(StageError):
    """What a stage built breaks its promise."""

    exit_code = 25


class NonFinite(StageError):
    """An output holds NaN or Inf."""

    exit_code = 26


class StoreError(EdgeconvError):
    """The cache cannot be read or written."""

    exit_code = 30


class DiskFull(StoreError):
    """No space is left where edgeconv writes."""

    exit_code = 31


class CalibrationError(EdgeconvError):
    """A calibration set is missing, changed, or misshapen."""

    exit_code = 32


class MeasurementError(EdgeconvError):
    """A runtime could not run an artifact."""

    exit_code = 33


class DeviceMissing(MeasurementError):
    """What `--device` names, the tools for it, or their set-up are not there."""

    exit_code = 36


class DeviceRefused(MeasurementError):
    """A device is there and cannot be used: unauthorized, offline, full, or it is not clear which one is meant."""

    exit_code = 37


def _tree(base: type[EdgeconvError]) -> dict[str, type[EdgeconvError]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found.update(_tree(child))
    return found


def from_json(data: dict[str, Any]) -> EdgeconvError:
    """The error that `EdgeconvError.to_json` described; an unknown class becomes a StageCrashed."""
    kind = _tree(EdgeconvError).get(str(data.get("error")), StageCrashed)
    return kind(
        str(data.get("message", "")),
        hint=str(data.get("hint", "")),
        stage=str(data.get("stage", "")),
        detail=str(data.get("detail", "")),
        nodes=data.get("nodes", ()),
    )
