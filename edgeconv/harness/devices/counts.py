"""From the plugin's marks to instruction counts: differences between places, a slope, and shares by function."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgeconv.errors import MeasurementError
from edgeconv.harness.devices import arm_runner as places
from edgeconv.harness.devices.record import CountRun, Instructions, SymbolRow

#: In the plugin's order.
KINDS = ("int8_dot_product", "float_multiply_add", "widening_multiply", "load_store", "branch", "other")

#: Functions that are listed by name; the rest is small.
MOST_SYMBOLS = 40


@dataclass(frozen=True)
class Counted:
    """What one process counted; see `CountRun`."""

    run: CountRun
    by_kind: dict[str, int]


def read(text: str, invokes: tuple[int, int]) -> Counted:
    """The counts in one process's marks.

    Args:
        text: what the plugin wrote.
        invokes: the two invoke counts that were marked.

    Raises:
        MeasurementError: a mark is missing.
    """
    marks = [[int(part) for part in line.split()[1:]] for line in text.splitlines() if line.startswith("mark ")]
    by_code = {mark[0]: mark[1:] for mark in marks}  # the last of the idle ones
    idle = [mark[1:] for mark in marks if mark[0] == places.IDLE]
    try:
        marking = _less(idle[-1], idle[-2])  # what it costs to mark once

        def between(start: int, end: int) -> list[int]:
            return _less(_less(by_code[end], by_code[start]), marking)

        few, many = between(places.BEFORE_FEW, places.FEW), between(places.BEFORE_MANY, places.MANY)
        load, first = between(places.BEFORE_LOAD, places.LOADED), between(places.BEFORE_FIRST, places.FIRST)
    except (IndexError, KeyError):
        raise MeasurementError(
            "qemu's plugin saw none of the runner's marks", hint="run scripts/setup_arm again"
        ) from None
    times = invokes[1] - invokes[0]
    slope = [(b - a) / times for a, b in zip(few, many, strict=True)]
    run = CountRun(per_invoke=slope[0], first_invoke=first[0], load=load[0])
    return Counted(run, {kind: round(n) for kind, n in zip(KINDS, slope[1:], strict=True)})


def _less(a: list[int], b: list[int]) -> list[int]:
    return [x - y for x, y in zip(a, b, strict=True)]


def summarize(
    found: list[Counted], invokes: tuple[int, int], counter: str, version: str, counted_on: str
) -> Instructions:
    """The counts of several processes as one; where they differ, the median stands and `reason` says by how much."""
    runs = [one.run for one in found]
    middle = sorted(runs, key=lambda run: run.per_invoke)[len(runs) // 2]
    differing = [name for name in CountRun.model_fields if len({getattr(run, name) for run in runs}) > 1]
    reason = "; ".join(_spread(name, [getattr(run, name) for run in runs]) for name in differing)
    if any(not run.per_invoke.is_integer() for run in runs):
        reason = "; ".join(filter(None, [reason, "invokes in one process differ from each other"]))
    if len(runs) == 1:
        reason = reason or "counted once"
    return Instructions(
        counter=counter,
        counter_version=version,
        counted_on=counted_on,
        instructions_per_invoke=round(middle.per_invoke),
        instructions_first_invoke=sorted(run.first_invoke for run in runs)[len(runs) // 2],
        instructions_load=sorted(run.load for run in runs)[len(runs) // 2],
        invoke_counts=list(invokes),
        runs=runs,
        repeats_exactly=not reason,
        reason=reason,
        by_kind=found[-1].by_kind,
    )


def _spread(name: str, values: list[float]) -> str:
    low, high = min(values), max(values)
    what = {"per_invoke": "an invoke", "first_invoke": "the first invoke", "load": "loading"}[name]
    return f"{what} took between {low:,} and {high:,} instructions ({(high - low) / max(low, 1):.4%} apart)"


def by_symbol(marks: str, maps: str, symbols: Path) -> list[SymbolRow]:
    """Instructions of one profiled invoke by function, the most first.

    Args:
        marks: what the plugin wrote, with its "block" lines.
        maps: the guest's /proc/self/maps.
        symbols: folder of symbol tables by library (`nm -nC`), as the set-up made them.
    """
    regions = _regions(maps)
    starts = [region[0] for region in regions]
    spent: Counter[tuple[str, str]] = Counter()
    tables: dict[str, tuple[list[int], list[str]]] = {}
    for line in marks.splitlines():
        if not line.startswith("block "):
            continue
        address, instructions, runs = line.split()[1:]
        place, count = int(address, 16), int(instructions) * int(runs)
        position = bisect.bisect_right(starts, place) - 1
        if position < 0 or place >= regions[position][1]:
            spent["", "unmapped"] += count
            continue
        _, _, base, library = regions[position]
        if library not in tables:
            tables[library] = _table(symbols / f"{library}.txt")
        addresses, names = tables[library]
        at = bisect.bisect_right(addresses, place - base) - 1
        spent[library, names[at] if at >= 0 else library] += count
    total = sum(spent.values())
    return [
        SymbolRow(symbol=symbol, library=library, instructions=count, share=count / total)
        for (library, symbol), count in spent.most_common(MOST_SYMBOLS)
    ]


def _regions(maps: str) -> list[tuple[int, int, int, str]]:
    """Start, end, load bias and library of every mapped file in a /proc/self/maps, by address.

    A shared library's addresses count from its lowest mapping; the interpreter's executable is not moved.
    """
    found = []
    for line in maps.splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith("/"):
            start, _, end = parts[0].partition("-")
            found.append((int(start, 16), int(end, 16), parts[5]))
    lowest: dict[str, int] = {}
    for first, _, path in sorted(found):
        lowest.setdefault(path, first if ".so" in Path(path).name else 0)
    return [(first, end, lowest[path], Path(path).name) for first, end, path in sorted(found)]


def _table(path: Path) -> tuple[list[int], list[str]]:
    """Addresses and names of the functions in `nm`'s output; empty where the library has none."""
    if not path.is_file():
        return [], []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        address, _, rest = line.partition(" ")
        kind, _, name = rest.partition(" ")
        if kind in {"T", "t", "W", "w", "i"} and not name.startswith("$"):  # $x marks code, it is no function
            rows.append((int(address, 16), name))
    rows.sort()
    return [row[0] for row in rows], [row[1] for row in rows]
