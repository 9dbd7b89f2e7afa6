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
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        what = str(broken).replace("(at end of document)", f"(at line {len(text.splitlines())}, the end of the file)")
        raise error(f"{path} is no valid TOML: {what}", hint="fix that line") from None
    except UnicodeDecodeError:
        raise error(f"{path} is no UTF-8 text", hint="save it as UTF-8") from None
    except OSError as broken:
        raise error(f"{path} cannot be read: {broken.strerror}") from None


def line_of(path: Path, key: str) -> int | None:
    """Number of the line that sets `key` or opens the section of that name, for messages.

    Args:
        path: the file.
        key: dotted from the file's top, as in `harness.threads`. Where the last part stands in a value (an inline
            table, an array), the line of the part before it counts.
    """
    if not path.is_file():
        return None
    wanted = key.split(".")
    section: list[str] = []
    found: dict[int, int] = {}  # by how many parts of `wanted` a line names: the first such line
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*(.+?)\s*\]", line)
        setting = re.match(r"\s*([\w\-.\"' ]+?)\s*=", line)
        if header:
            section = _parts(header[1])
        names = section if header else [*section, *_parts(setting[1])] if setting else []
        shared = min(len(names), len(wanted))
        if shared and wanted[:shared] == names[:shared]:
            found.setdefault(shared, number)
    return found[max(found)] if found else None


def _parts(dotted: str) -> list[str]:
    """The parts of a dotted key, quotes taken off."""
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def place(path: Path, key: str) -> str:
    """`file.toml, line 7`, or only the file where the key is not found."""
    number = line_of(path, key)
    return f"{path}, line {number}" if number else str(path)
