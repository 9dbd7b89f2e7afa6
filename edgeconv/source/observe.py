"""Watches what a model is made of while it loads: the user's own modules and files, and the packages behind them."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

from edgeconv import fingerprint
from edgeconv.source.model import Snapshot

_active: list[Observer] = []
_hooked: list[bool] = []
_SYSTEM = [Path(folder) for folder in ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib")]


class Observer:
    """Context manager around import, factory and checkpoint. Every file that is read meanwhile is part of the model."""

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._opened: set[Path] = set()
        self._modules: dict[str, Path] = {}
        self._packages: set[str] = set()

    def __enter__(self) -> Observer:
        if not _hooked:  # audit hooks cannot be removed: one for the process
            sys.addaudithook(_audit)
            _hooked.append(True)
        _watch_safetensors()
        self._before = set(sys.modules)
        _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _active.remove(self)
        installed = _installed_folders()
        for name in set(sys.modules) - self._before:
            file = getattr(sys.modules.get(name), "__file__", None)
            if not file:
                continue
            path = Path(file).resolve()
            if any(path.is_relative_to(folder) for folder in installed):
                self._packages.add(name.partition(".")[0])
            elif path.suffix == ".py":
                self._modules[name] = path

    def add(self, path: Path) -> None:
        """A file that belongs to the model for certain."""
        self._opened.add(path.resolve())

    def opened(self, path: Any, mode: Any) -> None:
        """Called for every file that is opened meanwhile; keeps data files that are no part of the system."""
        if not isinstance(path, (str, bytes, os.PathLike)) or (isinstance(mode, str) and set(mode) & set("wax+")):
            return
        found = Path(os.fsdecode(path)).absolute()
        if not any(found.is_relative_to(folder) for folder in _SYSTEM) and found.suffix not in {".py", ".pyc"}:
            self._opened.add(found)

    def snapshot(self) -> Snapshot:
        """The digests of everything seen."""
        files = {name: path for name, path in self._modules.items()}
        own = set(files.values())
        installed = [*_installed_folders(), Path(sys.prefix), Path(sys.base_prefix)]
        for path in sorted(self._opened - own):
            if path.is_file() and not any(path.is_relative_to(folder) for folder in installed):
                name = f"file:{path.name}"
                files[name if name not in files else f"file:{path}"] = path
        return Snapshot(
            {name: {"path": str(path), "sha256": fingerprint.of_file(path)} for name, path in sorted(files.items())},
            _distributions(self._packages),
        )


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _active:
        _active[-1].opened(arguments[0], arguments[1])


def _watch_safetensors() -> None:
    """Its files are opened by Rust, which raises no audit event; `safe_open` is wrapped to tell of them."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        return
    original = safetensors.safe_open
    if getattr(original, "tells_edgeconv", False):
        return

    def safe_open(filename: Any, *args: Any, **kwargs: Any) -> Any:
        if _active:
            _active[-1].opened(filename, "r")
        return original(filename, *args, **kwargs)

    safe_open.tells_edgeconv = True  # type: ignore[attr-defined]
    safetensors.safe_open = safetensors.torch.safe_open = safe_open


def _installed_folders() -> list[Path]:
    """Where Python keeps its own modules and installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(name) for name in names] + site.getsitepackages() + [site.getusersitepackages()]
    return sorted({Path(folder).resolve() for folder in folders})


def _distributions(packages: set[str]) -> dict[str, str]:
    from importlib import metadata

    by_package = metadata.packages_distributions()
    return fingerprint.versions(name for package in packages for name in by_package.get(package, []))
