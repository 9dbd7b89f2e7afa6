"""Error by layer: where in a model a conversion hurts."""

from edgeconv.harness.trace.job import trace

__all__ = ["trace"]
