"""What a selection is worth as a set: the one yardstick for a trained policy and for the closed form.

Rewards are paid at the state at which a candidate is met, so their sum depends on the order and on how the state was
estimated. The value here is that of the whole final set at the composition that it reached, per token of the budget:

    V(S) = sum_i p_i l_i^rho u(w_i) [alpha R_s + beta R_a + gamma R_d(x_i | S) + eta c(x_i | S)] / sum_i p_i l_i,

with inclusion probabilities p (0 and 1 for a drawn set), weights w of token-weighted mean 1, and S the expected set. It
holds neither price nor duals: sets of equal budget are compared, and ``mean_harm`` is stated beside the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.curated_set import CuratedSet, Duals, Prepared
from curation_pipeline.policy.pool import F64


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


def set_value(prepared: Prepared, probability: F64, weight: F64) -> SetValue:
    """The value of an expected or drawn set.

    Args:
        prepared: pool and objective; policies that are compared have to be judged with the same.
        probability: (n,) inclusion probabilities, or 0 and 1.
        weight: (n,) loss weight of each document if drawn; any scale, the token-weighted mean is made 1.

    Raises:
        ValueError: nothing is selected.
    """
    probability = np.asarray(probability, dtype=np.float64)
    tokens = probability * prepared.length
    total = float(tokens.sum())
    mass = float(tokens @ weight)
    if mass <= 0.0:
        raise ValueError("the set is empty; its value is not defined")
    weight = np.asarray(weight, dtype=np.float64) * (total / mass)
    everything = np.arange(len(prepared.pool))
    curated = CuratedSet(prepared, prepared.budget)
    curated.add(everything, probability, probability * weight)
    gain = curated.worth(everything, Duals()).gain + prepared.reference
    value = float((probability * prepared.gain_scale * np.log2(1.0 + weight)) @ gain) / total
    harm = float((tokens * weight) @ (1.0 - prepared.pool.safety)) / total
    return SetValue(value, harm, total / prepared.budget)


def random_value(prepared: Prepared) -> SetValue:
    """The value of a draw at random with equal weights: what any policy has for nothing."""
    n = len(prepared.pool)
    share = prepared.budget / float(prepared.length.sum())
    return set_value(prepared, np.full(n, share), np.ones(n))
