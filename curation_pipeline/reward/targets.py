"""From shares that a profile names to a target for every stratum, and what a document takes off the distance to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from curation_pipeline.errors import ConfigError, DataError

SWEEPS = 500
TOLERANCE = 1e-9
UNREACHED = 1e-3
"""Largest gap between a named share and the one that fitting ends with; more means that the shares contradict."""


def fit_margins(shares: np.ndarray, margins: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The composition nearest to ``shares`` in Kullback-Leibler divergence that has the given margins.

    Iterative proportional fitting (Deming and Stephan 1940), whose limit is that I-projection (Csiszar 1975). Within a
    class of an axis strata keep their proportions as far as the other axes allow.

    Args:
        shares: (k,) non-negative, not all zero.
        margins: for each axis an int (k,) class of every stratum and the (classes,) wanted share of each class, which
            sum to 1.

    Returns:
        float64 (k,) shares that sum to 1.

    Raises:
        DataError: a wanted share is above 0 where no stratum is, or the margins contradict one another.
    """
    q = np.asarray(shares, dtype=np.float64)
    q = q / q.sum()
    for classes, wanted in margins:
        held = np.bincount(classes, weights=q, minlength=len(wanted))
        if ((held <= 0.0) & (wanted > 0.0)).any():
            raise DataError("a share is wanted of a class that holds nothing")
    worst = 0.0
    for _ in range(SWEEPS if margins else 0):
        for classes, wanted in margins:
            held = np.bincount(classes, weights=q, minlength=len(wanted))
            q = q * np.where(held > 0.0, wanted / np.where(held > 0.0, held, 1.0), 0.0)[classes]
        worst = max(
            float(np.abs(np.bincount(classes, weights=q, minlength=len(wanted)) - wanted).max())
            for classes, wanted in margins
        )
        if worst <= TOLERANCE:
            break
    if worst > UNREACHED:
        raise DataError(f"the wanted shares contradict one another: the nearest composition misses one by {worst:.3f}")
    return np.asarray(q / q.sum())


def target_shares(
    shares: np.ndarray,
    axes: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    targets: Mapping[str, Mapping[str, float]],
) -> np.ndarray:
    """Target shares of strata from named shares of some values of some axes.

    Args:
        shares: (k,) the pool's share of each stratum.
        axes: for each axis the int (k,) value of every stratum, and the names of the values.
        targets: axis -> value -> wanted share; the values of an axis that are not named share the rest in the pool's
            proportions.

    Returns:
        float64 (k,).

    Raises:
        ConfigError: an axis or value is not in the pool, a rest has nobody to take it, or targets contradict.
    """
    margins = []
    for axis, wanted in targets.items():
        if axis not in axes:
            raise ConfigError(f"reward.targets names {axis}, of which the pool says nothing; it has {', '.join(axes)}")
        values, names = axes[axis]
        place = {name: i for i, name in enumerate(names)}
        held = np.bincount(values, weights=shares, minlength=len(names))
        classes = np.full(len(names), len(wanted))  # the last class is everything that is not named
        for number, (value, share) in enumerate(wanted.items()):
            if share > 0.0 and (value not in place or held[place[value]] <= 0.0):
                raise ConfigError(
                    f"reward.targets.{axis}.{value} is {share:g}, but the pool holds none of it; it holds "
                    f"{', '.join(names[:20])}"
                )
            if value in place:
                classes[place[value]] = number
        rest = 1.0 - sum(wanted.values())
        if rest > 1e-6 and not (held[classes == len(wanted)] > 0.0).any():
            raise ConfigError(
                f"reward.targets.{axis} names every value that the pool holds, and adds up to {1.0 - rest:.4g}; "
                "make it add up to 1 or leave one value out"
            )
        margins.append((classes[values], np.array([*wanted.values(), max(rest, 0.0)])))
    try:
        return fit_margins(shares, margins)
    except DataError as error:
        raise ConfigError(f"reward.targets: {error}") from error


def divergence_drop(
    target: np.ndarray, present: np.ndarray, strata: np.ndarray, amounts: np.ndarray | float
) -> np.ndarray:
    """What each candidate alone takes off KL(q || p), exactly and without summing over strata again.

    With n_k of stratum k there and N in all, an amount m of stratum k changes the divergence by
    log(1 + m / N) - q_k log(1 + m / n_k). Drops of candidates taken one after the other add up to the whole change.

    Args:
        target: (k,) shares q that sum to 1.
        present: (k,) amounts there, above 0.
        strata: int (m,) stratum of each candidate.
        amounts: (m,) amount that each would add, at least 0.

    Returns:
        float64 (m,), above 0 where the candidate brings the composition nearer to the target.
    """
    q, n = target[strata], present[strata]
    return np.asarray(q * np.log1p(amounts / n) - np.log1p(amounts / present.sum()))
