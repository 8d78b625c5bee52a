"""What a selection is worth as a set: the one yardstick for a trained policy and for the closed form.

Rewards are paid at the state at which a candidate is met, so their sum depends on the order and on how the state was
estimated. The value here is that of the whole final set at the composition that it reached, per token of the budget:

    V(S) = sum_i p_i l_i u(w_i) [alpha R_s + beta R_a + gamma R_d(x_i | S) + eta c(x_i | S)] / sum_i p_i l_i,

with inclusion probabilities p (0 and 1 for a drawn set), weights w of token-weighted mean 1, and S the expected set. It
holds neither price nor duals: sets of equal budget are compared, and ``mean_harm`` is stated beside the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.candidates import EVERY
from curation_pipeline.policy.pool import F64
from curation_pipeline.policy.problem import ConstraintDuals, SelectionProblem
from curation_pipeline.policy.selection_state import SelectionState


@dataclass(frozen=True, slots=True)
class SetValue:
    """The value of a set per token.

    Attributes:
        value: V(S), higher is better.
        mean_harm: weighted mean P(harm) of the set, in [0, 1].
        budget_use: expected tokens over the budget.
    """

    value: float
    mean_harm: float
    budget_use: float


def set_value(problem: SelectionProblem, probability: F64, weight: F64) -> SetValue:
    """The value of an expected or drawn set.

    Args:
        problem: pool and objective; policies that are compared have to be judged with the same.
        probability: (n,) inclusion probabilities, or 0 and 1.
        weight: (n,) loss weight of each document if drawn; any scale, the token-weighted mean is made 1.

    Raises:
        ValueError: nothing is selected.
    """
    candidates = problem.candidates
    probability = np.asarray(probability, dtype=np.float64)
    tokens = probability * candidates.length
    total = float(tokens.sum())
    mass = float(tokens @ weight)
    if mass <= 0.0:
        raise ValueError("the set is empty; its value is not defined")
    weight = np.asarray(weight, dtype=np.float64) * (total / mass)
    budget = candidates.statistics.budget
    state = SelectionState(candidates.statistics, budget)
    state.add(candidates, EVERY, probability, probability * weight)
    gain = problem.marginal_gain(state, EVERY, ConstraintDuals()).gain + problem.scale.reference
    value = float((probability * candidates.length * np.log2(1.0 + weight)) @ gain) / total
    harm = float((tokens * weight) @ (1.0 - candidates.pool.safety)) / total
    return SetValue(value, harm, total / budget)


def random_value(problem: SelectionProblem) -> SetValue:
    """The value of a draw at random with equal weights: what any policy has for nothing."""
    n = len(problem.candidates)
    share = problem.candidates.statistics.budget / problem.candidates.tokens
    return set_value(problem, np.full(n, share), np.ones(n))
