"""Small pieces of HTML that several parts of a page share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, total: bool = False) -> str:
    """A table of text; `total`: the last row is the sum of the others."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = []
    for number, row in enumerate(rows):
        kind = ' class="sum"' if total and number == len(rows) - 1 else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def dim(text: str) -> str:
    """A remark."""
    return f'<p class="dim">{escape(text)}</p>'


def doubt(text: str) -> str:
    """What casts doubt on a number, or went wrong."""
    return f'<p class="doubt">{escape(text)}</p>'
