"""InputSpec: name, shape, dtype and value range of one model input, and how it is written on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeconv.errors import InputMismatch

DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")

_FORM = re.compile(
    r"(?P<name>[^=]+)=(?P<shape>\d+(x\d+)*|scalar)(:(?P<dtype>[a-z]+\d*))?(:(?P<low>[-+.\deE]+)\.\.(?P<high>[-+.\deE]+))?"
)


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: as in the forward's signature.
        shape: dimensions, the batch included.
        dtype: numpy name.
        low: smallest value in use (inclusive); None: standard normal for floats, [0, 1] for integers.
        high: largest value in use (inclusive).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "low": self.low, "high": self.high}

    @staticmethod
    def from_json(data: dict[str, Any]) -> InputSpec:
        """The spec that `to_json` described."""
        return InputSpec(data["name"], tuple(data["shape"]), data["dtype"], data["low"], data["high"])

    def sample(self, generator: np.random.Generator) -> npt.NDArray[Any]:
        """Random values of the spec's shape, dtype and range.

        Floats without a range are standard normal. Integers are uniform over [low, high], booleans over both values
        (or constant where low equals high).
        """
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            if self.low is None or self.high is None:
                return generator.standard_normal(self.shape).astype(dtype)
            return generator.uniform(self.low, self.high, self.shape).astype(dtype)
        low = 0 if self.low is None else int(self.low)
        high = 1 if self.high is None else int(self.high)
        return generator.integers(low, high, self.shape, endpoint=True).astype(dtype)


def parse_input(text: str) -> InputSpec:
    """Read `image=1x3x224x224`, `ids=1x128:int64`, or `ids=1x128:int64:0..30521`.

    Raises:
        InputMismatch: the text has another form.
    """
    found = _FORM.fullmatch(text.strip())
    dtype = (found["dtype"] or "float32") if found else ""
    if found is None or dtype not in DTYPES:
        raise InputMismatch(
            f"cannot read the input spec {text!r}" + (f": {dtype!r} is no dtype" if found else ""),
            hint="write NAME=SHAPE[:DTYPE[:LOW..HIGH]], for example image=1x3x224x224 or ids=1x128:int64:0..30521; "
            f"dtypes: {', '.join(DTYPES)}",
        )
    shape = () if found["shape"] == "scalar" else tuple(int(n) for n in found["shape"].split("x"))
    try:
        low, high = (float(found[side]) if found[side] is not None else None for side in ("low", "high"))
    except ValueError:
        raise InputMismatch(f"cannot read the range in the input spec {text!r}", hint="write it as LOW..HIGH") from None
    if 0 in shape or (low is not None and high is not None and low > high):
        raise InputMismatch(
            f"the input spec {text!r} has {'an empty dimension' if 0 in shape else 'a range from high to low'}",
            hint="every dimension is at least 1, and LOW is not above HIGH",
        )
    _check_range(text, dtype, low, high)
    return InputSpec(found["name"].strip(), shape, dtype, low, high)


def _check_range(text: str, dtype: str, low: float | None, high: float | None) -> None:
    if low is None or high is None:
        return
    kind = np.dtype(dtype).kind
    limits: Any = np.iinfo(dtype) if kind in "iu" else np.finfo(dtype if kind == "f" else "float32")
    least, most = (0, 1) if kind == "b" else (limits.min, limits.max)
    if low < least or high > most or not np.isfinite(high - low):
        raise InputMismatch(
            f"the range in the input spec {text!r} does not fit {dtype}", hint=f"{dtype} goes from {least} to {most}"
        )
    if kind in "iub" and not (low.is_integer() and high.is_integer()):
        raise InputMismatch(
            f"the range in the input spec {text!r} is not of whole numbers", hint=f"{dtype} holds whole numbers only"
        )
