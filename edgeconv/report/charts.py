"""Charts as SVG text: a distribution, a course, bars, a treemap. Their colours come from the page's CSS classes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

#: Width of every chart in its own units; the page scales it.
WIDTH = 960


class Bar(NamedTuple):
    """One bar.

    Attributes:
        label, note: left of it and right of it.
        value: its length.
        kind: CSS class that colours it.
        tip: shown under the pointer.
    """

    label: str
    note: str
    value: float
    kind: str
    tip: str


class Tile(NamedTuple):
    """One rectangle of a treemap; see Bar."""

    label: str
    value: float
    kind: str
    tip: str


def _svg(height: float, body: Sequence[str], title: str) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, *body, "</svg>"])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, tip: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    return f'<rect {place} class="{kind}"><title>{escape(tip)}</title></rect>'


def distribution(milliseconds: Sequence[float], marks: Sequence[tuple[str, float]], bins: int = 80) -> str:
    """A histogram of times and marked percentiles. It ends where the bulk has ended for long, so that its bulk can be seen.

    Args:
        milliseconds: every sample.
        marks: names and places in ms.
        bins: how many columns.
    """
    ordered = sorted(milliseconds)
    low = ordered[0]
    high = min(ordered[-1], low + 4 * max(ordered[len(ordered) * 9 // 10] - low, 0.25 * low))
    if high <= low:
        high = low * 1.01
    counts = [0] * bins
    beyond = 0
    for value in ordered:
        if value > high:
            beyond += 1
        else:
            counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    top, base, step = 46.0, 220.0, WIDTH / bins
    tallest = max(counts)
    body = []
    for number, count in enumerate(counts):
        start, end = (low + (high - low) * at / bins for at in (number, number + 1))
        height = (base - top) * count / tallest
        if count:
            tip = f"{count} invokes of {start:.4g} to {end:.4g} ms"
            body.append(_box(number * step, base - height, step - 1, height, "mark", tip))
    for number, (name, place) in enumerate(each for each in marks if each[1] <= high):
        x = (place - low) / (high - low) * WIDTH
        anchor = "end" if x > WIDTH * 0.85 else "start"
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{18 + 14 * (number % 2):.0f}" y2="{base:.0f}" class="rule"/>')
        body.append(
            _text(
                x + (4 if anchor == "start" else -4), 16 + 14 * (number % 2), f"{name} {place:.3g} ms", "small", anchor
            )
        )
    body += [_text(0, base + 18, f"{low:.3g} ms", "small"), _text(WIDTH, base + 18, f"{high:.3g} ms", "small", "end")]
    if beyond:
        body.append(_text(WIDTH / 2, base + 18, f"{beyond} of {len(ordered)} invokes took longer", "small", "middle"))
    return _svg(base + 26, body, "distribution of times")


def course(milliseconds: Sequence[float], ceiling: float, columns: int = 480) -> str:
    """Times in the order in which they were taken: median and range of each stretch; longer ones end at the ceiling."""
    size = max(1, len(milliseconds) // columns)
    stretches = [sorted(milliseconds[at : at + size]) for at in range(0, len(milliseconds), size)]
    low = min(stretch[0] for stretch in stretches)
    base, top = 120.0, 6.0

    def place(value: float) -> float:
        return base - (base - top) * (min(value, ceiling) - low) / max(ceiling - low, 1e-12)

    body, points = [], []
    for number, stretch in enumerate(stretches):
        x = (number + 0.5) / len(stretches) * WIDTH
        body.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{place(stretch[0]):.1f}" y2="{place(stretch[-1]):.1f}" class="range"/>'
        )
        points.append(f"{x:.1f},{place(stretch[len(stretch) // 2]):.1f}")
    body.append(f'<polyline points="{" ".join(points)}" class="line"/>')
    body += [_text(0, base + 16, "first invoke", "small"), _text(WIDTH, base + 16, "last", "small", "end")]
    return _svg(base + 22, body, "times in order")


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars, one a row. Those of the kind "other" are sums and set no scale."""
    height, left, right = 22.0, 330.0, 190.0
    longest = max((row.value for row in rows if row.kind != "other"), default=0.0) or 1.0
    body = []
    for number, row in enumerate(rows):
        y = number * height
        body.append(_text(left - 8, y + 15, row.label[-52:], "small", "end"))
        width = (WIDTH - left - right) * min(1.0, row.value / longest)
        body.append(_box(left, y + 3, width, height - 6, row.kind, row.tip))
        body.append(_text(left + width + 6, y + 15, row.note, "small"))
    return _svg(len(rows) * height + 2, body, "bars")


def treemap(tiles: Sequence[Tile], height: float = 420.0) -> str:
    """Rectangles whose areas are the values, as square as they can be (Bruls, Huizing and van Wijk's squarified layout)."""
    ordered = sorted((tile for tile in tiles if tile.value > 0), key=lambda tile: -tile.value)
    total = sum(tile.value for tile in ordered)
    body = []
    if total:
        areas = [tile.value / total * WIDTH * height for tile in ordered]
        for tile, (x, y, width, high) in zip(ordered, squarify(areas, 0.0, 0.0, float(WIDTH), height), strict=True):
            body.append(_box(x, y, max(width - 1, 0), max(high - 1, 0.5), f"tile {tile.kind}", tile.tip))
            letters = int(width / 7) - 1
            if high > 16 and letters >= 4:
                short = tile.label if len(tile.label) <= letters else "…" + tile.label[-letters + 1 :]
                body.append(_text(x + 4, y + 13, short, "tiny"))
    return _svg(height, body, "bytes as areas")


def squarify(
    areas: Sequence[float], x: float, y: float, width: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Rectangles (x, y, width, height) with these areas, in order, that fill the given one."""
    found: list[tuple[float, float, float, float]] = []
    left = list(areas)
    while left:
        side = min(width, height)
        row = [left[0]]
        while len(row) < len(left) and _worst([*row, left[len(row)]], side) <= _worst(row, side):
            row.append(left[len(row)])
        left = left[len(row) :]
        thickness = sum(row) / side if side else 0.0
        along = 0.0
        for area in row:
            length = area / thickness if thickness else 0.0
            found.append((x, y + along, thickness, length) if width >= height else (x + along, y, length, thickness))
            along += length
        if width >= height:
            x, width = x + thickness, width - thickness
        else:
            y, height = y + thickness, height - thickness
    return found


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides in a row of rectangles along a side of that length."""
    total = sum(row)
    if not total or not side:
        return float("inf")
    return max(side * side * max(row) / (total * total), total * total / (side * side * min(row)))
