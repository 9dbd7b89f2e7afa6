"""Error by layer for a person on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def render(found: dict[str, Any], top: int) -> RenderableType:
    """The worst rows, what the columns mean, and what could not be told.

    Args:
        found: from `edgeconv.api.trace`.
        top: rows to show.
    """
    rows = found["rows"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("module", "kind", ".tflite op", "weights", "alone", "adds", "value"):
        table.add_column(name, justify="right" if name in {"alone", "adds", "value"} else "left", overflow="fold")
    for row in rows[:top]:
        table.add_row(
            Text(row["module"]), Text(row["kind"]), row["op"], row["weights"].lower(), _db(row["effect_db"]),
            _db(row["own_snr_db"]), _db(row["snr_db"]),
        )  # fmt: skip
    outputs = ", ".join(f"{name} {value:.1f} dB" for name, value in found["outputs"].items())
    told = (
        "alone: SNR of the model's outputs if only this layer's own error were there; adds: SNR of what it computes from "
        "the .tflite's own inputs to it; value: SNR of its value in the .tflite, with all errors before it."
    )
    parts: list[RenderableType] = [table]
    if len(rows) > top:
        parts.append(Text(f"and {len(rows) - top} more, which hurt less", style="dim"))
    parts += [Text(f"outputs over {found['samples']} random inputs, in LiteRT without its delegate: {outputs}")]
    folded = [name for name in found["unmatched"] if not any(name in row["covers"] for row in rows)]
    if folded:
        shown = ", ".join(folded[:4]) + (f" and {len(folded) - 4} more" if len(folded) > 4 else "")
        parts.append(Text(f"no tensor of their own in the .tflite: {shown}", style="dim"))
    parts.append(Text(told, style="dim"))
    return Group(*parts)


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"
