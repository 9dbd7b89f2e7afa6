"""Runs artifacts in their runtimes and measures them."""

from edgeconv.harness.bench import Options, version_of
from edgeconv.harness.bench import bench as measure
from edgeconv.harness.machine import fingerprint as machine_of
from edgeconv.harness.machine import host
from edgeconv.harness.prove import Proof, Prover

__all__ = ["Options", "Proof", "Prover", "host", "machine_of", "measure", "version_of"]
