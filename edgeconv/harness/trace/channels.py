"""Finds the order in which a tensor holds a place's channels, where the conversion has moved them.

A channel shuffle between convolutions goes into their weights; what lies between is then in another order.
"""

from __future__ import annotations

import numpy as np

from edgeconv.harness import metrics
from edgeconv.harness.trace.points import Array

#: More than this many channels are not tried: the table of distances is square.
MOST_CHANNELS = 2048


def order(value: Array, other: Array) -> Array | None:
    """Which channel of `value` each channel of `other` is.

    Args:
        value: [N, C, …], the original's.
        other: the same shape, with its channels moved and an error added.

    Returns:
        int [C]: other ≈ value[:, order]; None if channels cannot be told apart or there are too many.
    """
    if value.ndim < 2 or not 1 < value.shape[1] <= MOST_CHANNELS:
        return None
    count = value.shape[1]
    rows = [np.moveaxis(array, 1, 0).reshape(count, -1).astype(np.float64) for array in (value, other)]
    powers = [np.einsum("ij,ij->i", array, array) for array in rows]
    distances = powers[1][:, None] + powers[0][None, :] - 2.0 * (rows[1] @ rows[0].T)
    found = np.full(count, -1)
    free = np.ones(count, bool)
    # the surest first: loud channels, whose neighbours are far
    for channel in np.argsort(-powers[1], kind="stable"):
        nearest = int(np.argmin(np.where(free, distances[channel], np.inf)))
        found[channel] = nearest
        free[nearest] = False
    return found


def undone(other: Array, channels: Array) -> Array:
    """The channels of `other` back in the original's order."""
    back = np.empty_like(other)
    back[:, channels] = other
    return back


def snr_db(value: Array, other: Array, channels: Array) -> float:
    """Nearness of a value and one whose channels are moved."""
    return metrics.snr_db(value, undone(other, channels))
