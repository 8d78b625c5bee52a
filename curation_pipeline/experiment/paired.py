"""Two arms on the same items: a hierarchical bootstrap over seeds and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation_pipeline.errors import DataError

_CHUNK = 2_000
"""Resamples at once: their counts of items are one matrix."""


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
            counts = rng.multinomial(n, np.full(n, 1.0 / n), size=rows.stop - start).astype(np.float64)
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
