"""What a run tells while it goes on. Only the command line prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeconv.pipeline.plan import Reason


@dataclass(frozen=True)
class Event:
    """One moment of a run.

    Attributes:
        what: "started", "built", "cached", "measuring" or "measured".
        step: name of the stage or measurement.
        reason: why it runs, for "started".
        seconds: how long it took, for "built" and "measured".
        bytes: size of the result, where there is one.
        text: anything else worth a line.
    """

    what: Literal["started", "built", "cached", "measuring", "measured"]
    step: str
    reason: Reason | None = None
    seconds: float = 0.0
    bytes: int = 0
    text: str = ""


Emit = Callable[[Event], None]


def silent(_: Event) -> None:
    """Takes events and does nothing."""
