"""How far groups differ in a mean, and how far they would by chance."""

from __future__ import annotations

import numpy as np

from curation_pipeline.bootstrap import Bootstrap, Interval, ratios


def gap_of_groups(
    values: np.ndarray, groups: np.ndarray, bootstrap: Bootstrap, *names: str
) -> tuple[Interval, Interval]:
    """Largest minus smallest mean of the groups, and the same where the groups' labels are shuffled.

    The largest of several noisy means less the smallest is above zero even where the groups are alike, so a gap is one
    only where it lies above what shuffling gives.

    Args:
        values: (n,), one an item.
        groups: (n,) names.
        bootstrap: how intervals are made; items are resampled inside their groups, labels shuffled as often.
        names: of the random streams.

    Returns:
        The gap with its interval; the mean gap of shuffled labels, with the interval that holds ``confidence`` of them.
    """
    values = np.asarray(values, dtype=np.float64)
    _, code, count = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(code, weights=values) / count
    inside = [values[code == group] for group in range(count.size)]
    rng = bootstrap.rng("gap", *names)
    draws = np.stack([ratios(part, np.ones_like(part), rng, bootstrap.resamples) for part in inside])
    shuffled = rng.permuted(np.broadcast_to(values, (bootstrap.resamples, values.size)), axis=1)
    edges = np.concatenate([[0], np.cumsum(count)[:-1]])
    chance = np.ptp(np.add.reduceat(shuffled, edges, axis=1) / count, axis=1)
    return (
        bootstrap.interval(float(np.ptp(means)), np.ptp(draws, axis=0), values.size),
        bootstrap.interval(float(chance.mean()), chance, values.size),
    )
