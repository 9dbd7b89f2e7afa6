"""What both sides of a trace are made of: places in the original model, and tensors of the .tflite."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


#: Ops that move values and compute none: their tensors are a place only by value, never by name.
MOVES = frozenset(
    {
        "CONCATENATION", "EXPAND_DIMS", "GATHER", "PACK", "PAD", "PADV2", "RESHAPE", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE",
        "STRIDED_SLICE", "TRANSPOSE", "UNPACK",
    }
)  # fmt: skip


@dataclass
class Fed:
    """One tensor that a place was fed.

    Attributes:
        producer: number of the place that made it; None for a model input or what was computed between places.
        is_input: whether it is an input of the model, exact on both sides.
        value: as the original model had it.
    """

    producer: int | None
    is_input: bool
    value: Array


@dataclass
class Point:
    """One output of a module's call, or of an ONNX node.

    Attributes:
        name: dotted path of the module, or the node's name.
        kind: class of the module, or the node's op.
        value: float, in the original model's layout.
        fed: its tensor inputs, in order.
        replayable: whether `Reference.replay` can compute it alone from other inputs.
    """

    name: str
    kind: str
    value: Array
    fed: list[Fed] = field(default_factory=list)
    replayable: bool = False

    def passes_on(self) -> int | None:
        """Number of the input that it gives back unchanged, as dropout does; None if it computes something."""
        for number, fed in enumerate(self.fed):
            if fed.value.shape == self.value.shape and np.array_equal(fed.value, self.value):
                return number
        return None


class Reference(Protocol):
    """The original model, open at every place. Calls give the same points in the same order each time."""

    def observe(self, inputs: Arrays) -> tuple[list[Point], Arrays]:
        """Run the model; its points in the order in which they were finished, and its outputs."""

    def replay(self, point: int, fed: list[Array]) -> Array:
        """What that place computes from these inputs instead, the last observed ones' others being the same."""

    def disturbed(self, inputs: Arrays, point: int, error: Array) -> Arrays:
        """The model's outputs if an error is added at that place and everything else is exact."""


@dataclass(frozen=True)
class Tensor:
    """A float activation of the .tflite.

    Attributes:
        index: in the file.
        name: module or node that it came from, as the conversion named it.
        op: builtin that computes it.
        weights: dtype of that op's largest constant, such as INT8; empty without one.
        position: of the op in the file.
    """

    index: int
    name: str
    op: str
    weights: str
    position: int


def layouts(value: Array) -> list[tuple[int, ...]]:
    """Axis orders in which the .tflite may hold a value: its own, and channels last."""
    own = tuple(range(value.ndim))
    return [own] if value.ndim < 3 else [own, (0, *range(2, value.ndim), 1)]


def laid(value: Array, perm: tuple[int, ...]) -> Array:
    """The value's elements in the order of another layout, flat."""
    return np.ascontiguousarray(value.transpose(perm)).reshape(-1)


def unlaid(flat: Array, like: Array, perm: tuple[int, ...]) -> Array:
    """Flat elements of a layout, back in the original's shape."""
    moved = flat.reshape([like.shape[axis] for axis in perm])
    return np.ascontiguousarray(moved.transpose(np.argsort(perm)))
