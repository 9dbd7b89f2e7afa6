"""Runs artifacts in their runtimes and measures them."""

from edgeconv.harness.jobs import host
from edgeconv.harness.prove import Proof, Prover

__all__ = ["Proof", "Prover", "host"]
