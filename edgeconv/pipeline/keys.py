"""What a step's result depends on, and the key made of it."""

from __future__ import annotations

import json
import sys
from typing import Any

from edgeconv import fingerprint
from edgeconv.stage import Stage

Ingredients = dict[str, Any]


def of_stage(stage: Stage, input_digest: str, calibration_digest: str | None = None) -> Ingredients:
    """Everything that decides what `stage` makes of its input.

    Args:
        stage: with its options.
        input_digest: content digest of the artifact it reads, or of the model source.
        calibration_digest: of the calibration set, if the stage reads one.
    """
    return {
        "step": stage.name,
        "revision": stage.revision(),
        "options": _plain(stage.options()),
        "versions": fingerprint.versions(stage.distributions),
        "python": python_version(),
        "input": input_digest,
        "calibration": calibration_digest,
    }


def of_measurement(name: str, revision: str, options: dict[str, Any], distributions: tuple[str, ...]) -> Ingredients:
    """The same for a measurement; the digests of what it reads stand among its options."""
    return {
        "step": name,
        "revision": revision,
        "options": _plain(options),
        "versions": fingerprint.versions(distributions),
        "python": python_version(),
        "input": None,
        "calibration": None,
    }


def key_of(ingredients: Ingredients) -> str:
    """Full SHA-256 of the canonical JSON."""
    return fingerprint.of_data(ingredients)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """As they come back from the store (tuples as lists), so that comparing with the last run finds no false change."""
    plain: dict[str, Any] = json.loads(fingerprint.canonical_json(options))
    return plain


def python_version() -> str:
    """x.y of the running interpreter."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
