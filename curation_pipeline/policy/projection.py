"""The policy's decisions, moved as little as possible until budget, toxicity ceiling and floors hold.

A trained network answers to the multipliers of the constraints only as far as it met them in training. What is drawn
must hold them anyway. Each constraint is a signed column c over the documents whose mean over the drawn tokens may not
be negative: tau - P(harm) for the ceiling, benign share - floor for a group. Among all independent draws that meet the
budget and the constraints, the one nearest to the policy in Kullback-Leibler divergence is an exponential tilt of it
(Csiszar, 1975): with keep-logits z_i and one multiplier lambda_k >= 0 for each constraint,

    p_i = sigmoid(z_i + b + sum_k lambda_k c_ik),
    sum_i p_i t_i = budget,   sum_i p_i t_i c_ik >= 0,   lambda_k = 0 where a constraint does not bind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from curation_pipeline.policy.pool import F64

SWEEPS = 60
TOLERANCE = 2e-3
"""Shortfall that is accepted, as a share of what the documents on the wrong side of the constraint add to it."""
MAX_MULTIPLIER = 1000.0
"""A constraint that the pool cannot meet at all is met as far as a multiplier of this size goes. Log-odds of a policy
that is sure reach -60, and a column may be a twentieth, so that 40 and even 400 were too small."""

_ITERATIONS = 100
"""Far more than Newton's method takes; halving the bracket alone would be done too."""
_PRECISION = 1e-12
_HELD = 1e-6
"""Relative errors of the budget and of a constraint at which a solution is taken."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The tilt that makes budget and constraints hold.

    Attributes:
        shift: (n,) what is added to each document's keep-logit.
        multipliers: (K,) lambda, from 0 to ``MAX_MULTIPLIER``.
    """

    shift: F64
    multipliers: F64


def project(
    keep: F64, tokens: F64, budget: float, columns: F64, start: F64 | None = None, sweeps: int = SWEEPS
) -> Projection:
    """Solve for the shift b and the multipliers, one after the other until all hold.

    Args:
        keep: (n,) log-odds of being kept under the policy.
        tokens: (n,) cost of each document.
        budget: what the kept documents cost together; at or above the pool's total everything is kept.
        columns: (n, K) signed; the mean of each over the kept tokens is to be at least 0.
        start: (K,) multipliers to start from.
        sweeps: most rounds over all multipliers.
    """
    multipliers = np.zeros(columns.shape[1]) if start is None else start.copy()
    if budget >= tokens.sum() * (1.0 - 1e-12):
        return Projection(np.full(len(keep), 60.0 - float(keep.min())), multipliers)
    open_ = _sweep(keep, tokens, budget, columns, multipliers, sweeps)
    lost = [k for k in open_ if not _reachable(columns[:, k], tokens, budget)]
    if lost:
        # By steps that the shift undoes one by one it would take far more sweeps to get there.
        multipliers[lost] = MAX_MULTIPLIER
        _sweep(keep, tokens, budget, columns, multipliers, sweeps)
    tilt = columns @ multipliers
    return Projection(tilt + solve_shift(keep + tilt, tokens, budget), multipliers)


def _sweep(keep: F64, tokens: F64, budget: float, columns: F64, multipliers: F64, sweeps: int) -> list[int]:
    """Improve the multipliers in place; the constraints that do not hold yet after that."""
    b = 0.0
    for done in range(sweeps + 1):
        # Built up again, so that no rounding adds up.
        tilt = columns @ multipliers
        b = solve_shift(keep + tilt, tokens, budget, b)
        cost = sigmoid(keep + tilt + b) * tokens
        lack = np.array([_lack(cost, column) for column in columns.T])
        open_ = np.flatnonzero((lack > TOLERANCE) & (multipliers < MAX_MULTIPLIER))
        slack = np.flatnonzero((lack < -TOLERANCE) & (multipliers > 0.0))
        if done == sweeps or not len(open_) + len(slack):
            break
        for k in (*open_, *slack):
            column = columns[:, k]
            found = _multiplier(keep + tilt - multipliers[k] * column + b, column, tokens, float(multipliers[k]))
            tilt += (found - multipliers[k]) * column
            multipliers[k] = found
    return [int(k) for k in open_]


def solve_shift(keep: F64, tokens: F64, budget: float, start: float = 0.0) -> float:
    """The shift b with sum(sigmoid(keep + b) * tokens) = budget, by Newton's method inside a shrinking bracket.

    Args:
        keep: (n,) log-odds of being kept.
        tokens: (n,) cost of each.
        budget: above 0 and below the sum of ``tokens``.
        start: a guess.
    """
    low, high = -float(keep.max()) - 60.0, -float(keep.min()) + 60.0
    b = min(max(start, low), high)
    for _ in range(_ITERATIONS):
        probability = sigmoid(keep + b)
        cost = probability * tokens
        excess = float(cost.sum()) - budget
        if abs(excess) <= _PRECISION * budget:
            break
        low, high = (low, b) if excess > 0 else (b, high)
        slope = float(cost @ (1.0 - probability))
        b = b - excess / slope if slope > 0 else low - 1.0
        # A step out of the bracket comes from where the curve is flat.
        b = b if low < b < high else 0.5 * (low + high)
    return b


def _reachable(column: F64, tokens: F64, budget: float) -> bool:
    """Whether any draw of this budget meets a constraint: the one that takes the largest values first does."""
    order = np.argsort(-column)
    left = np.clip(budget - (np.cumsum(tokens[order]) - tokens[order]), 0.0, tokens[order])
    return float(left @ column[order]) >= 0.0


def _lack(cost: F64, column: F64) -> float:
    """How far a constraint is from holding, over what is against it; negative where there is room."""
    part = cost * column
    against = float(-part[part < 0.0].sum())
    return -float(part.sum()) / against if against > 0.0 else -1.0


def _multiplier(without: F64, column: F64, tokens: F64, start: float) -> float:
    """The least multiplier at which a constraint holds, others and the shift fixed; 0 where it does already."""
    rows = column != 0.0
    base, share, mass = without[rows], column[rows], (tokens * column)[rows]
    if sigmoid(base) @ mass >= 0.0:
        return 0.0
    low, high, value = 0.0, MAX_MULTIPLIER, start
    for _ in range(_ITERATIONS):
        probability = sigmoid(base + value * share)
        held = probability * mass
        lack = -float(held.sum())
        if abs(lack) <= _HELD * float(np.abs(held).sum()):
            break
        low, high = (value, high) if lack > 0 else (low, value)
        slope = float(held @ ((1.0 - probability) * share))
        value = value + lack / slope if slope > 0 else low
        value = value if low < value < high else 0.5 * (low + high)
    return value


def sigmoid(x: F64) -> F64:
    """1 / (1 + exp(-x)), without overflow at large arguments."""
    return np.asarray(expit(x))
