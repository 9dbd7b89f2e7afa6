"""Runs artifacts in their runtimes and measures them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeconv.harness.bench import Options, version_of
    from edgeconv.harness.bench import bench as measure
    from edgeconv.harness.machine import fingerprint as machine_of
    from edgeconv.harness.machine import host
    from edgeconv.harness.prove import Proof, Prover

__all__ = ["Options", "Proof", "Prover", "host", "machine_of", "measure", "version_of"]

_HOMES = {
    "Options": "bench:Options",
    "Proof": "prove:Proof",
    "Prover": "prove:Prover",
    "host": "machine:host",
    "machine_of": "machine:fingerprint",
    "measure": "bench:bench",
    "version_of": "bench:version_of",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first asked for: a measuring process starts with what it needs and no more."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgeconv.harness' has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"edgeconv.harness.{module}"), attribute)
