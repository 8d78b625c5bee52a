"""Bootstrap intervals and paired differences (Efron and Tibshirani, 1993), vectorised and seeded.

All statistics here are ratios of sums over items (a mean is the ratio with denominator 1), so a resample is a vector of
multinomial counts and all resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from curation_pipeline.errors import DataError

Group = tuple[np.ndarray, np.ndarray]
"""Numerators (n,) and denominators (n,) of one group of items."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its percentile interval.

    Attributes:
        value: the estimate.
        low: lower end; NaN where there is no interval.
        high: upper end.
        n: items that were resampled.
        groups: the items behind a mean or a macro mean, in a fixed order, so that models can be compared item by item;
            empty for other statistics.
    """

    value: float
    low: float
    high: float
    n: int
    groups: tuple[Group, ...] = field(default=(), compare=False, repr=False)


def bootstrap_ratios(
    numerator: np.ndarray, denominator: np.ndarray, rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """Resampled sum(numerator) / sum(denominator).

    Args:
        numerator: (n,).
        denominator: (n,), positive.
        rng: source of the resamples.
        resamples: R.

    Returns:
        float64 (R,).
    """
    n = numerator.size
    if n == 0:
        raise DataError("a bootstrap needs at least one item")
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)
    return np.asarray((counts @ numerator) / (counts @ denominator))


def mean_interval(values: np.ndarray, rng: np.random.Generator, resamples: int, confidence: float) -> Interval:
    """Mean of items and its percentile interval."""
    values = np.asarray(values, dtype=np.float64)
    ones = np.ones_like(values)
    found = interval(float(values.mean()), bootstrap_ratios(values, ones, rng, resamples), confidence, values.size)
    return replace(found, groups=((values, ones),))


def macro_interval(groups: Sequence[Group], rng: np.random.Generator, resamples: int, confidence: float) -> Interval:
    """Mean over groups of sum(numerator) / sum(denominator); items are resampled inside each group."""
    value, draws = macro(groups, rng, resamples)
    found = interval(value, draws, confidence, sum(numerator.size for numerator, _ in groups))
    return replace(found, groups=tuple(groups))


def macro(groups: Sequence[Group], rng: np.random.Generator, resamples: int) -> tuple[float, np.ndarray]:
    """The mean over groups and its (R,) resamples, for statistics that combine several such means."""
    value = float(np.mean([numerator.sum() / denominator.sum() for numerator, denominator in groups]))
    draws = np.mean([bootstrap_ratios(numerator, denominator, rng, resamples) for numerator, denominator in groups], 0)
    return value, np.asarray(draws)


def interval(value: float, draws: np.ndarray, confidence: float, n: int) -> Interval:
    """A percentile interval from resamples, never without its value.

    Resampling moves some statistics to one side (a range of groups gets wider), so that few draws reach the value of
    the items themselves; the interval is then widened to it, which only makes it more careful.
    """
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, min(float(low), value), max(float(high), value), n)


def two_sided_p(draws: np.ndarray) -> float:
    """p-value of zero from resamples (R,) of a difference, by inverting its percentile interval.

    Never below 2 / (R + 1): a tail that no resample reached is not known to be empty.
    """
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2.0 * (tail + 1) / (draws.size + 1))


def one_sided_p(draws: np.ndarray) -> float:
    """p-value of "not above zero" from resamples (R,): small where nearly all of them are above; at least 1/(R + 1)."""
    return (int((draws <= 0).sum()) + 1) / (draws.size + 1)
