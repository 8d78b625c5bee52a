"""Every bootstrap of the project (Efron and Tibshirani, 1993): seeded, vectorised, with percentile intervals.

There are three ways to resample n items:

- `resampled_counts`: how often each item is drawn. A ratio of sums over items then takes one matrix product for all
  resamples (`ratios`, `macro`).
- `resample`: which items are drawn, for any other statistic; `Bootstrap.rows` draws those of all resamples at once.
- `paired_draws`: two arms on the same items, with seeds resampled within each arm.

``scipy.stats.bootstrap`` has no counts and no clusters, and refuses a sample of one item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from curation_pipeline.errors import DataError
from curation_pipeline.seeds import generator

Group = tuple[np.ndarray, np.ndarray]
"""Numerators (n,) and denominators (n,) of one group of items."""

_CHUNK = 2_000
"""Resamples at once in `paired_draws`: their counts of items are one matrix."""


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


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How an evaluation makes its intervals.

    Each metric has its own random stream, so one more metric does not change the others.
    """

    seed: int
    resamples: int
    confidence: float

    def rng(self, *names: str) -> np.random.Generator:
        """The stream of a metric."""
        return generator(self.seed, "bootstrap", *names)

    def counts(self, n: int, *names: str) -> np.ndarray:
        """How often each of n items is in each resample, see `resampled_counts`."""
        return resampled_counts(n, self.rng(*names), self.resamples)

    def rows(self, n: int, *names: str) -> np.ndarray:
        """Which of n > 0 items are in each resample, int64 (R, n)."""
        return np.asarray(self.rng(*names).integers(n, size=(self.resamples, n)))

    def mean(self, values: np.ndarray, *names: str) -> Interval:
        """Mean of items (n,), with its interval."""
        values = np.asarray(values, dtype=np.float64)
        group = (values, np.ones_like(values))
        draws = ratios(*group, self.rng(*names), self.resamples)
        return self.interval(float(values.mean()), draws, values.size, (group,))

    def macro(self, groups: Sequence[Group], *names: str) -> Interval:
        """Mean over groups of sum(numerator) / sum(denominator); items are resampled inside each group."""
        value, draws = macro(groups, self.rng(*names), self.resamples)
        return self.interval(value, draws, sum(numerator.size for numerator, _ in groups), groups)

    def interval(self, value: float, draws: np.ndarray, n: int, groups: Sequence[Group] = ()) -> Interval:
        """The interval of a statistic of n items from its resamples (R,)."""
        return interval(value, draws, n, self.confidence, groups)


def resampled_counts(n: int, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """How often each of n items is in each resample, float64 (R, n).

    Raises:
        DataError: there is no item.
    """
    if n == 0:
        raise DataError("a bootstrap needs at least one item")
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)


def resample(
    statistic: Callable[..., float], arrays: Sequence[np.ndarray], rng: np.random.Generator, resamples: int
) -> tuple[float, np.ndarray]:
    """Any statistic of items and its (R,) resamples; NaN and no resamples where there is no item.

    Args:
        statistic: of arrays such as ``arrays``.
        arrays: each (n, ...), one row an item; all are resampled together.
        rng: source of the resamples.
        resamples: R.
    """
    n = len(arrays[0])
    if n == 0:
        return float("nan"), np.empty(0)
    # The rows are drawn one resample at a time: the matrix of all would be large for large tables.
    drawn = (rng.integers(n, size=n) for _ in range(resamples))
    draws = np.array([statistic(*(array[rows] for array in arrays)) for rows in drawn], dtype=np.float64)
    return float(statistic(*arrays)), draws


def ratios(numerator: np.ndarray, denominator: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Resampled sum(numerator) / sum(denominator), float64 (R,).

    Args:
        numerator: (n,).
        denominator: (n,), positive.
        rng: source of the resamples.
        resamples: R.
    """
    counts = resampled_counts(numerator.size, rng, resamples)
    return np.asarray((counts @ numerator) / (counts @ denominator))


def macro(groups: Sequence[Group], rng: np.random.Generator, resamples: int) -> tuple[float, np.ndarray]:
    """The mean of ratios over groups and its (R,) resamples, for statistics that combine several such means."""
    value = float(np.mean([numerator.sum() / denominator.sum() for numerator, denominator in groups]))
    return value, np.asarray(np.mean([ratios(*group, rng, resamples) for group in groups], 0))


def interval(
    value: float, draws: np.ndarray, n: int, confidence: float = 0.95, groups: Sequence[Group] = ()
) -> Interval:
    """A percentile interval from resamples (R,), widened to the value where it does not hold it.

    Resampling moves some statistics to one side: a range of groups gets wider. Few draws then reach the value of the
    items themselves, and the wider interval is the more careful one.
    """
    low, high = percentiles(draws, confidence)
    return Interval(value, min(float(low), value), max(float(high), value), n, tuple(groups))


def percentiles(draws: np.ndarray, confidence: float | None = None) -> np.ndarray:
    """The ends of the percentile interval (95% by default) over the first axis, (2, ...); NaN without resamples."""
    # (1 - .95) / 2 is not .025 in binary, and figures are kept to the last digit.
    tails = (0.025, 0.975) if confidence is None else ((1 - confidence) / 2, (1 + confidence) / 2)
    return np.asarray(np.quantile(draws, tails, axis=0)) if len(draws) else np.full(2, np.nan)


def two_sided_p(draws: np.ndarray) -> float:
    """p-value of zero from resamples (R,) of a difference, by inverting its percentile interval.

    Never below 2 / (R + 1): a tail that no resample reached is not known to be empty.
    """
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2.0 * (tail + 1) / (draws.size + 1))


def one_sided_p(draws: np.ndarray) -> float:
    """p-value of "not above zero" from resamples (R,): small where nearly all of them are above; at least 1/(R + 1)."""
    return (int((draws <= 0).sum()) + 1) / (draws.size + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A group of items in a figure that is a sum of coefficient * sum(numerator) / sum(denominator) over groups.

    Attributes:
        coefficient: of the group; 1 / G for a mean over G groups.
        numerators: (seeds, n).
        denominators: (n,), the same for every seed: bytes of a text, or ones.
    """

    coefficient: float
    numerators: np.ndarray
    denominators: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """A figure of an arm and its resamples.

    Attributes:
        value: of the items as they are.
        draws: (R,).
    """

    value: float
    draws: np.ndarray


def resampled_seeds(seeds: int, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Weights of the seeds of an arm in each resample, (R, seeds), rows summing to 1.

    k - 1 of k seeds are drawn with replacement (Rao and Wu, 1988): drawing k of them would understate the variance of
    their mean by (k - 1) / k, which is half of it for two seeds. One seed is kept as it is: of the noise between seeds
    it says nothing.
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    return np.asarray(rng.multinomial(seeds - 1, np.full(seeds, 1.0 / seeds), size=resamples) / (seeds - 1))


def paired_draws(
    ours: Sequence[Part], theirs: Sequence[Part], rng: np.random.Generator, resamples: int, *, same_seeds: bool = False
) -> tuple[Draws, Draws]:
    """Resample two arms together: items once for both, seeds within each arm.

    Resampling seeds and items crosswise counts their interaction twice and so errs towards wide intervals (Owen, 2007).

    Args:
        ours: groups of one arm.
        theirs: the same groups of the other.
        rng: source of the resamples.
        resamples: R.
        same_seeds: the arms' seeds are pairs (equal draws, equal order of data), so one draw of seeds serves both.

    Returns:
        Each arm's figure; their difference is paired resample by resample.

    Raises:
        DataError: when the arms do not have the same groups of the same items.
    """
    _check(ours, theirs, same_seeds)
    mine = resampled_seeds(ours[0].numerators.shape[0], rng, resamples)
    other = mine if same_seeds else resampled_seeds(theirs[0].numerators.shape[0], rng, resamples)
    first, second = np.zeros(resamples), np.zeros(resamples)
    for a, b in zip(ours, theirs, strict=True):
        n = a.denominators.size
        for start in range(0, resamples, _CHUNK):
            rows = slice(start, min(start + _CHUNK, resamples))
            counts = resampled_counts(n, rng, rows.stop - start)
            below = counts @ a.denominators
            first[rows] += a.coefficient * np.einsum("rk,rk->r", mine[rows], counts @ a.numerators.T) / below
            second[rows] += b.coefficient * np.einsum("rk,rk->r", other[rows], counts @ b.numerators.T) / below
    return Draws(figure(ours), first), Draws(figure(theirs), second)


def figure(parts: Sequence[Part]) -> float:
    """The figure of an arm on its items, the mean over its seeds."""
    return float(sum(part.coefficient * part.numerators.sum(axis=1).mean() / part.denominators.sum() for part in parts))


def unpaired_draws(values: Sequence[float], errors: Sequence[float], rng: np.random.Generator, resamples: int) -> Draws:
    """Normal resamples of an arm of which only figures with intervals are known, one a seed.

    Seeds share their items, so the error over items does not shrink with their number; the one between seeds does.

    Args:
        values: figure of each seed.
        errors: standard error of each over its items.
        rng: source of the resamples.
        resamples: R.
    """
    spread = float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    error = float(np.sqrt(np.mean(np.square(errors)) + spread))
    return Draws(float(np.mean(values)), np.mean(values) + error * rng.standard_normal(resamples))


def _check(ours: Sequence[Part], theirs: Sequence[Part], same_seeds: bool) -> None:
    if not ours or len(ours) != len(theirs):
        raise DataError(f"a paired comparison needs the same groups in both arms, got {len(ours)} and {len(theirs)}")
    for a, b in zip(ours, theirs, strict=True):
        same = a.coefficient == b.coefficient and np.array_equal(a.denominators, b.denominators)
        if not same or a.numerators.shape[1] != b.numerators.shape[1] or not a.denominators.size:
            raise DataError("the two arms were evaluated on different items; evaluate both with one profile")
        if same_seeds and a.numerators.shape != b.numerators.shape:
            raise DataError("arms whose seeds are pairs need the same number of seeds")
