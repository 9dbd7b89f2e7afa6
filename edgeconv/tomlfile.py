"""Reads a TOML file; says where it is broken."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from edgeconv.errors import EdgeconvError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read(path: Path, error: type[EdgeconvError]) -> dict[str, Any]:
    """The file as plain data.

    Raises:
        error: the file is no TOML (the message has the line), not UTF-8, or cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as broken:
        raise error(f"{path} is no valid TOML: {broken}", hint="fix that line") from None
    except UnicodeDecodeError:
        raise error(f"{path} is no UTF-8 text") from None
    except OSError as broken:
        raise error(f"{path} cannot be read: {broken.strerror}") from None


def line_of(path: Path, key: str) -> int | None:
    """Number of the line that sets `key` (or opens the section of that name), for messages."""
    pattern = re.compile(rf'\s*(\[\s*)?"?{re.escape(key)}"?\s*(=|\])')
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if pattern.match(line):
            return number
    return None


def place(path: Path, key: str) -> str:
    """`file.toml, line 7`, or only the file where the key is not found."""
    number = line_of(path, key)
    return f"{path}, line {number}" if number else str(path)
