"""Percentile bootstrap (Efron and Tibshirani, 1993) of the red team's statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""From values of shape (R, n, ...) to one number for each of the R resamples."""


def mean(values: np.ndarray) -> np.ndarray:
    """The mean of each resample, over all that an item holds."""
    return np.asarray(values.reshape(len(values), -1).mean(axis=1))


def median(values: np.ndarray) -> np.ndarray:
    """The median of each resample."""
    return np.asarray(np.median(values, axis=1))


def widest_gap(values: np.ndarray) -> np.ndarray:
    """Largest minus smallest mean of the columns of each resample, from shape (R, n, columns)."""
    means = values.mean(axis=1)
    return np.asarray(means.max(axis=1) - means.min(axis=1))


def bootstrap(
    values: np.ndarray, statistic: Statistic, rng: np.random.Generator, resamples: int, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """A statistic of items, and the ends of its interval.

    Args:
        values: (n, ...) one row an item; rows are resampled.
        statistic: of one resample.
        rng: source of the resamples.
        resamples: R.
        confidence: coverage.

    Returns:
        The value, the lower and the upper end; None when there is no item.
    """
    n = len(values)
    if n == 0:
        return None
    places = rng.integers(n, size=(resamples, n))
    # In blocks, so that the resampled values of a large table never stand in memory all at once.
    block = max(1, int(4e6 / max(values.size, 1)))
    draws = np.concatenate([statistic(values[places[i : i + block]]) for i in range(0, resamples, block)])
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(statistic(values[None])[0]), float(low), float(high)
