"""edgeconv turns a PyTorch model into a .tflite for a phone, with the proof that it still is the same model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeconv.api import run
    from edgeconv.errors import EdgeconvError
    from edgeconv.report import Report

__all__ = ["EdgeconvError", "Report", "run"]

_HOMES = {"run": "edgeconv.api", "Report": "edgeconv.report", "EdgeconvError": "edgeconv.errors"}


def __getattr__(name: str) -> Any:
    """Import public names when they are first asked for: `import edgeconv` alone stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgeconv' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
