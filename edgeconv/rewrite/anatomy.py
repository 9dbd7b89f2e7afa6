"""Whose every byte of a .tflite is: the file cut into spans, each with one owner, without a gap.

Follows the flatbuffer format and the tables of TFLite's schema v3 (tensorflow/compiler/mlir/lite/schema/schema.fbs) by the
numbers of their fields. Reads offsets only and executes nothing; a file that points outside of itself is BrokenModelFile.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeconv.errors import BrokenModelFile

#: What a span belongs to: the kind of thing and its numbers, such as ("tensor", subgraph, index).
Owner = tuple[str | int, ...]

FORMAT: Owner = ("format",)
MODEL: Owner = ("model",)

#: Fields of each table that point to something: scalar vectors with the size of an element, strings, tables.
_VECTORS = {
    "model": {5: 4},
    "subgraph": {1: 4, 2: 4},
    "tensor": {0: 4, 7: 4},
    "quantization": {0: 4, 1: 4, 2: 4, 3: 8},
    "operator": {1: 4, 2: 4, 5: 1, 7: 1, 8: 4},
    "buffer": {0: 1},
}
_STRINGS = {
    "model": (3,), "code": (1,), "subgraph": (4,), "tensor": (3,), "metadata": (0,), "signature": (2,), "map": (0,),
}  # fmt: skip
#: Length in bytes of a field of Buffer that says where its data lie outside of the flatbuffer, for files over 2 GB.
_OFFSET_FIELD, _SIZE_FIELD = 1, 2


@dataclass
class _Walk:
    """Spans found so far.

    Attributes:
        data: the file.
        spans: start, end, owner.
        path: for messages.
    """

    data: bytes
    path: str
    spans: list[tuple[int, int, Owner]] = field(default_factory=list)

    def claim(self, start: int, end: int, owner: Owner) -> None:
        """A span for an owner. Raises BrokenModelFile if it is not inside the file."""
        if not 0 <= start <= end <= len(self.data):
            raise self.broken()
        if end > start:
            self.spans.append((start, end, owner))

    def broken(self) -> BrokenModelFile:
        """The file points outside of itself."""
        return BrokenModelFile(
            f"{self.path} is damaged: it points outside of itself", hint="check that the file is complete"
        )

    def number(self, at: int, form: str) -> int:
        """A little-endian number. Raises BrokenModelFile."""
        try:
            return int(struct.unpack_from(f"<{form}", self.data, at)[0])
        except struct.error:
            raise self.broken() from None

    def table(self, at: int, owner: Owner) -> dict[int, int]:
        """Claim a table; returns where its fields lie. Tables of equal shape share a vtable, which is the format's."""
        vtable = at - self.number(at, "i")
        length, inline = self.number(vtable, "H"), self.number(vtable + 2, "H")
        self.claim(vtable, vtable + length, FORMAT)
        self.claim(at, at + inline, owner)
        offsets = [self.number(vtable + 4 + 2 * index, "H") for index in range((length - 4) // 2)]
        return {index: at + offset for index, offset in enumerate(offsets) if offset}

    def pointed(self, at: int) -> int:
        """Where an offset at `at` points to."""
        return at + self.number(at, "I")

    def vector(self, at: int, element: int, owner: Owner) -> tuple[int, int]:
        """Claim a vector that the offset at `at` points to; returns where its elements begin, and how many."""
        start = self.pointed(at)
        count = self.number(start, "I")
        self.claim(start, start + 4 + count * element, owner)
        return start + 4, count

    def string(self, at: int, owner: Owner) -> None:
        """Claim a string, which ends with a zero."""
        start = self.pointed(at)
        self.claim(start, start + 4 + self.number(start, "I") + 1, owner)

    def each(self, at: int, owner: Owner, visit: Callable[[int, int], None]) -> None:
        """Visit every table of a vector of tables, with its place and number."""
        start, count = self.vector(at, 4, owner)
        for number in range(count):
            visit(self.pointed(start + 4 * number), number)

    def plain(self, kind: str, at: int, owner: Owner) -> dict[int, int]:
        """Claim a table with its scalar vectors and strings; returns its fields."""
        fields = self.table(at, owner)
        for index, element in _VECTORS.get(kind, {}).items():
            if index in fields:
                self.vector(fields[index], element, owner)
        for index in _STRINGS.get(kind, ()):
            if index in fields:
                self.string(fields[index], owner)
        return fields


def spans(data: bytes, path: str) -> list[tuple[int, int, Owner]]:
    """The file cut into spans in order of place: start, end, owner. What nobody claims is the format's: padding mostly.

    Owners: ("model",), ("code", n), ("subgraph", n), ("tensor", subgraph, n), ("op", subgraph, n), ("buffer", n),
    ("metadata", n), ("signature", n), ("format",).

    Args:
        data: the whole file.
        path: for messages.

    Raises:
        BrokenModelFile: it is no TFLite file, or points outside of itself.
    """
    if data[4:8] != b"TFL3":
        raise BrokenModelFile(f"{path} is not a TFLite file: its identifier is not TFL3", hint="name a .tflite file")
    walk = _Walk(data, path)
    walk.claim(0, 8, FORMAT)
    fields = walk.plain("model", walk.pointed(0), MODEL)
    visits: dict[int, Callable[[int, int], None]] = {
        1: lambda at, n: _ignore(walk.plain("code", at, ("code", n))),
        2: lambda at, n: _subgraph(walk, at, n),
        4: lambda at, n: _buffer(walk, at, ("buffer", n)),
        6: lambda at, n: _ignore(walk.plain("metadata", at, ("metadata", n))),
        7: lambda at, n: _signature(walk, at, ("signature", n)),
    }
    for index, visit in visits.items():
        if index in fields:
            walk.each(fields[index], MODEL, visit)
    return _partition(walk.spans, len(data))


def _ignore(_: object) -> None:
    """A table with nothing below it."""


def _subgraph(walk: _Walk, at: int, number: int) -> None:
    owner: Owner = ("subgraph", number)
    fields = walk.plain("subgraph", at, owner)
    if 0 in fields:
        walk.each(fields[0], owner, lambda place, n: _tensor(walk, place, ("tensor", number, n)))
    if 3 in fields:
        walk.each(fields[3], owner, lambda place, n: _operator(walk, place, ("op", number, n)))


def _tensor(walk: _Walk, at: int, owner: Owner) -> None:
    fields = walk.plain("tensor", at, owner)
    if 4 in fields:
        walk.plain("quantization", walk.pointed(fields[4]), owner)


def _operator(walk: _Walk, at: int, owner: Owner) -> None:
    fields = walk.plain("operator", at, owner)
    for options in (4, 12):  # unions of option tables; vectors in them stay the format's
        if options in fields:
            walk.table(walk.pointed(fields[options]), owner)


def _buffer(walk: _Walk, at: int, owner: Owner) -> None:
    fields = walk.plain("buffer", at, owner)
    if _OFFSET_FIELD in fields and _SIZE_FIELD in fields:
        start, count = walk.number(fields[_OFFSET_FIELD], "Q"), walk.number(fields[_SIZE_FIELD], "Q")
        if start > 1:  # 0 and 1 stand for "not used"
            walk.claim(start, start + count, owner)


def _signature(walk: _Walk, at: int, owner: Owner) -> None:
    fields = walk.plain("signature", at, owner)
    for side in (0, 1):
        if side in fields:
            walk.each(fields[side], owner, lambda place, _: _ignore(walk.plain("map", place, owner)))


def _partition(claimed: list[tuple[int, int, Owner]], size: int) -> list[tuple[int, int, Owner]]:
    """Spans without overlap or gap: of two claims to a byte the earlier one in the file has it, the rest is the format's."""
    found: list[tuple[int, int, Owner]] = []
    end = 0
    for start, stop, owner in sorted(claimed, key=lambda span: (span[0], span[1])):
        if start > end:
            found.append((end, start, FORMAT))
        if stop > end:
            found.append((max(start, end), stop, owner))
            end = stop
    if end < size:
        found.append((end, size, FORMAT))
    return found


def bytes_by_owner(data: bytes, path: str) -> dict[Owner, int]:
    """Bytes of each owner; they add up to the file's size."""
    found: dict[Owner, int] = {}
    for start, end, owner in spans(data, path):
        found[owner] = found.get(owner, 0) + end - start
    return found
