"""The policy's decisions, moved as little as possible until budget and group floors hold.

A trained network answers to the multipliers of the constraints only as far as it met them in training. What is drawn
must hold them anyway. Among all independent draws that meet the budget and the floors, the one nearest to the policy in
Kullback-Leibler divergence is an exponential tilt of it (Csiszar, 1975): with keep-logits z_i, benign share a_ig of
document i in group g and one multiplier lambda_g >= 0 for each floor,

    p_i = sigmoid(z_i + b + sum_g lambda_g a_ig),
    sum_i p_i t_i = budget,   sum_i p_i t_i a_ig >= floor_g * budget,   lambda_g = 0 where a floor does not bind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.pool import F64

SWEEPS = 60
TOLERANCE = 2e-3
"""Relative shortfall of a floor that is accepted."""
MAX_MULTIPLIER = 40.0
"""A floor that the pool cannot meet at all is met as far as a multiplier of this size goes."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The tilt that makes budget and floors hold.

    Attributes:
        shift: (n,) what is added to each document's keep-logit.
        multipliers: (G,) lambda, at least 0.
    """

    shift: F64
    multipliers: F64


def project(
    keep: F64, tokens: F64, budget: float, groups: F64, floors: F64, start: F64 | None = None, sweeps: int = SWEEPS
) -> Projection:
    """Solve for the shift b and the multipliers, one after the other until all hold.

    Args:
        keep: (n,) log-odds of being kept under the policy.
        tokens: (n,) cost of each document.
        budget: what the kept documents cost together; at or above the pool's total everything is kept.
        groups: (n, G) share of each document that counts towards each floor, in [0, 1].
        floors: (G,) least mean of ``groups`` over the kept tokens.
        start: (G,) multipliers to start from.
        sweeps: most rounds over all multipliers.
    """
    multipliers = np.zeros(len(floors)) if start is None else start.copy()
    if budget >= tokens.sum() * (1.0 - 1e-12):
        return Projection(np.full(len(keep), 60.0 - float(keep.min())), multipliers)
    weighted = groups * tokens[:, None]
    wanted = floors * budget
    tilt = groups @ multipliers
    b = _solve(keep + tilt, tokens, budget)
    for _ in range(sweeps):
        worst = 0.0
        for g in range(len(floors)):
            column = groups[:, g]
            without = keep + tilt - multipliers[g] * column + b
            found = _multiplier(without, column, weighted[:, g], wanted[g])
            tilt += (found - multipliers[g]) * column
            multipliers[g] = found
        b = _solve(keep + tilt, tokens, budget)
        probability = sigmoid(keep + tilt + b)
        held = probability @ weighted
        lack = 1.0 - held / np.maximum(wanted, 1e-12)
        worst = float(lack[multipliers < MAX_MULTIPLIER].max(initial=0.0))
        if worst <= TOLERANCE:
            break
    return Projection(tilt + b, multipliers)


def _solve(keep: F64, tokens: F64, budget: float) -> float:
    """The shift b with sum(sigmoid(keep + b) * tokens) = budget, by bisection."""
    low, high = -float(keep.max()) - 60.0, -float(keep.min()) + 60.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if sigmoid(keep + middle) @ tokens < budget:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _multiplier(without: F64, column: F64, weighted: F64, wanted: float) -> float:
    """The least multiplier at which a group holds what it should, others fixed; 0 where it does already."""
    rows = column > 0
    base, share, mass = without[rows], column[rows], weighted[rows]
    if sigmoid(base) @ mass >= wanted:
        return 0.0
    low, high = 0.0, 1.0
    while high < MAX_MULTIPLIER and sigmoid(base + high * share) @ mass < wanted:
        low, high = high, 2.0 * high
    for _ in range(30):
        middle = 0.5 * (low + high)
        if sigmoid(base + middle * share) @ mass < wanted:
            low = middle
        else:
            high = middle
    return min(high, MAX_MULTIPLIER)


def sigmoid(x: F64) -> F64:
    """1 / (1 + exp(-x)) through tanh, which neither overflows nor loses the sign of large arguments."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))
