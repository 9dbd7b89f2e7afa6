"""Watches what a model is made of while it loads: the user's own modules and files, and the packages behind them."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Container
from functools import cache
from pathlib import Path
from typing import Any

from edgeconv import fingerprint
from edgeconv.source.model import Snapshot

_active: list[Observer] = []
_hooked: list[bool] = []
_PACKAGE = Path(__file__).parent.parent
#: /usr itself is not among them: in many containers the user's project lies in /usr/src/app.
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share", "/usr/bin")


class Observer:
    """Context manager around import, factory and checkpoint. Every file that is read meanwhile is part of the model."""

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}
        self._opened: set[Path] = set()
        self._modules: dict[str, Path] = {}
        self._packages: set[str] = set()

    def __enter__(self) -> Observer:
        if not _hooked:  # audit hooks cannot be removed: one for the process
            sys.addaudithook(_audit)
            _hooked.append(True)
        _watch_safetensors()
        self._before = dict(sys.modules)
        _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _active.remove(self)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if not file or module is self._before.get(name):
                continue
            path = Path(file).resolve()
            if _is_house(path):
                continue
            if _is_installed(path):
                self._packages.add(name.partition(".")[0])
            elif path.suffix == ".py":
                self._modules[name] = path

    def add(self, path: Path) -> None:
        """A file that belongs to the model for certain."""
        self._opened.add(path.resolve())

    def opened(self, path: Any, flags: int) -> None:
        """Called for every file that is opened meanwhile; keeps what is read and no part of the system.

        Python files are among them: a configuration may be run without staying in `sys.modules`.
        """
        if not isinstance(path, (str, bytes, os.PathLike)) or flags & (os.O_WRONLY | os.O_RDWR):
            return
        found = Path(os.fsdecode(path)).absolute()
        if found.suffix == ".pyc":  # what it was compiled from counts, whether or not it had to be compiled today
            try:
                found = Path(importlib.util.source_from_cache(str(found)))
            except ValueError:
                return
        self._opened.add(found)

    def snapshot(self) -> Snapshot:
        """The digests of everything seen."""
        files = dict(self._modules)
        own = set(files.values())
        for path in sorted({path.resolve() for path in self._opened} - own):
            if path.is_file() and is_users(path):
                files[_name_of(path, files)] = path
        return Snapshot(
            {name: {"path": str(path), "sha256": fingerprint.of_file(path)} for name, path in sorted(files.items())},
            _distributions(self._packages),
        )


def is_users(path: Path) -> bool:
    """The file is the user's own: neither the system's, nor an installed package's, nor edgeconv's."""
    return not _is_installed(path) and not _is_house(path)


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _installed_folders())


def _is_house(path: Path) -> bool:
    """The file is edgeconv's own, in a checkout too; but the bundled sample is a model like any other."""
    return path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "models")


def _name_of(path: Path, taken: Container[str]) -> str:
    """A file's name; with as many of its folders as tell it from others, so that moving all of them changes nothing."""
    parts = path.parts
    names = ("file:" + "/".join(parts[-n:]) for n in range(1, len(parts) + 1))
    return next((name for name in names if name not in taken), f"file:{path}")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _active:
        _active[-1].opened(arguments[0], arguments[2])


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
            _active[-1].opened(filename, os.O_RDONLY)
        return original(filename, *args, **kwargs)

    safe_open.tells_edgeconv = True  # type: ignore[attr-defined]
    for module in (safetensors, safetensors.torch):
        setattr(module, "safe_open", safe_open)  # noqa: B010 - to a type checker it is a class


@cache
def _installed_folders() -> tuple[Path, ...]:
    """Where the system, Python and installed packages keep their files."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(name) for name in names] + site.getsitepackages() + [site.getusersitepackages()]
    inner = [Path(root, name) for root in (sys.prefix, sys.base_prefix) for name in ("lib", "lib64", "share", "bin")]
    both = {*map(Path, folders), *map(Path, _SYSTEM), *inner}
    return tuple(sorted(both | {folder.resolve() for folder in both}))


def _distributions(packages: set[str]) -> dict[str, str]:
    from importlib import metadata

    by_package = metadata.packages_distributions()
    return fingerprint.versions(name for package in packages for name in by_package.get(package, []))
