"""Where things lie: the files that edgeconv ships, and the platform's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def shipped(folder: str) -> Path:
    """`targets` or `calibration` as they came with edgeconv: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / "_shipped" / folder
    return inside if inside.is_dir() else package.parent / folder


def cache_dir(given: Path | None = None) -> Path:
    """The cache's root: as given, else EDGECONV_CACHE, else the platform's cache folder."""
    if given is not None:
        return given
    named = os.environ.get("EDGECONV_CACHE")
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("edgeconv", appauthor=False)


def arm_dir() -> Path:
    """Where `scripts/setup_arm` puts the emulated Arm machine: EDGECONV_ARM, else beside the platform's cache folder."""
    named = os.environ.get("EDGECONV_ARM")
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("edgeconv-arm", appauthor=False)
