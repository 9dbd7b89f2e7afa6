"""Plans and runs a chain of stages over a store. Knows no particular stage."""

from edgeconv.pipeline.events import Emit, Event, silent
from edgeconv.pipeline.measure import Measured, measured
from edgeconv.pipeline.plan import Reason, Step
from edgeconv.pipeline.pool import Pool
from edgeconv.pipeline.run import Chain, Done, Outlook, Run

__all__ = [
    "Chain", "Done", "Emit", "Event", "Measured", "Outlook", "Pool", "Reason", "Run", "Step", "measured", "silent",
]  # fmt: skip
