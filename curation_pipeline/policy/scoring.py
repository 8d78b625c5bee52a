"""From a policy to inclusion probabilities and weights: a consistent frozen state, projected onto budget and floors.

Convention: the budget counts ``n_tokens`` of drawn documents whatever their weight, so the shift of the logit of "skip"
solves ``sum(p_i * n_tokens_i) = budget`` (see ``projection``, which holds the group floors as well). Weights are scaled
so that their mean over the expected tokens is 1, hence ``sum(p_i * w_i * n_tokens_i) = budget`` holds too. The state is
frozen while documents are drawn, so the order of the draw does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from curation_pipeline.policy.artefact import ScoringPolicy, load_policy
from curation_pipeline.policy.curated_set import CuratedSet, Duals, Prepared, Worth, clearing_price, prepare
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Pool
from curation_pipeline.policy.projection import SWEEPS, project, sigmoid
from curation_pipeline.policy.scores import Scores

__all__ = ["FrozenState", "ScoringPolicy", "frozen_state", "load_policy", "score_pool"]

ROUGH_SWEEPS = 3
"""Sweeps of the projection between the rounds; the last round solves it fully."""
_PROGRESS = 0.5
"""The set is frozen halfway through, with this share of the budget used."""


@dataclass(frozen=True, slots=True)
class FrozenState:
    """The state at which a pool of n documents is scored.

    Attributes:
        curated: half of the expected curated set, consistent with the selection that it leads to.
        worth: of all documents at this state.
        price, duals: the clearing price and the multipliers.
        logits: (n, actions).
        shift: (n,) what is taken from the logit of "skip" so that budget and group floors are met.
    """

    curated: CuratedSet
    worth: Worth
    price: float
    duals: Duals
    logits: F64
    shift: F64

    @property
    def prepared(self) -> Prepared:
        """The pool and objective behind the state."""
        return self.curated.prepared


Decide = Callable[[CuratedSet, Worth, float, Duals], F64]
"""Logits (n, actions) of all documents, given the curated set, their worth, the price and the duals."""


def score_pool(policy: ScoringPolicy, pool: Pool, objective: Objective, budget_tokens: int) -> Scores:
    """Inclusion probabilities p_i = 1 - pi(skip | f_i, s) and weights w_i = E[w | kept] of a pool.

    Args:
        policy: from ``load_policy``.
        pool: with the features that the policy was trained on.
        objective: the iteration's reward weights and facts; its own budget is replaced by ``budget_tokens``.
        budget_tokens: tokens of drawn documents; a budget above the pool's tokens selects everything.

    Raises:
        ConfigError: the pool's features differ from the policy's.
    """
    return scores_at(policy_state(policy, pool, objective, budget_tokens))


def policy_state(policy: ScoringPolicy, pool: Pool, objective: Objective, budget_tokens: int) -> FrozenState:
    """The frozen state at which ``score_pool`` decides."""
    prepared = prepare(pool, with_budget(objective, budget_tokens), policy.normaliser, policy.settings)

    def decide(curated: CuratedSet, worth: Worth, price: float, duals: Duals) -> F64:
        everything = np.arange(len(pool))
        observation = curated.observe(everything, worth, price, duals, _PROGRESS)
        return policy.logits(observation).astype(np.float64)

    return frozen_state(prepared, decide, policy.duals)


def state_observations(state: FrozenState) -> F32:
    """What the policy sees of every document (n, f) at a frozen state."""
    everything = np.arange(len(state.prepared.pool))
    return state.curated.observe(everything, state.worth, state.price, state.duals, _PROGRESS)


def with_budget(objective: Objective, budget_tokens: int) -> Objective:
    """The same objective under another budget."""
    return replace(objective, budget_tokens=budget_tokens)


def frozen_state(
    prepared: Prepared, decide: Decide, duals: Duals, adapt_duals: float = 0.0, rounds: int | None = None
) -> FrozenState:
    """Damped mean-field iteration: the state that the expected selection at that state leads back to.

    Args:
        prepared: pool and objective.
        decide: logits of all documents at a state.
        duals: multipliers to start from.
        adapt_duals: speed of dual ascent between the rounds; 0 keeps the multipliers as trained.
        rounds: instead of the settings' ``mean_field_rounds``.
    """
    settings, length, budget = prepared.settings, prepared.length, prepared.budget
    everything = np.arange(len(prepared.pool))
    kept = np.full(len(everything), budget / length.sum())
    weighted = kept.copy()
    multipliers: F64 | None = None
    total_rounds = rounds or settings.mean_field_rounds
    for done in range(total_rounds + 1):
        curated = CuratedSet(prepared, budget)
        # Halfway: the middle of what a policy sees in training, budget and pseudo-counts included.
        curated.add(everything, _PROGRESS * kept, _PROGRESS * weighted)
        if adapt_duals and done:
            duals = curated.update_duals(duals, adapt_duals)
        worth = curated.worth(everything, duals)
        price = clearing_price(curated.critical_price(everything, worth), length, budget)
        logits = decide(curated, worth, price, duals)
        tilt = project(
            keep_logit(logits), length, budget, prepared.benign, prepared.floor, multipliers,
            ROUGH_SWEEPS if done < total_rounds else SWEEPS,
        )  # fmt: skip
        multipliers, shift = tilt.multipliers, tilt.shift
        if done < total_rounds:
            probability, weight = probabilities(logits, shift, settings.weights)
            # Sharp decisions oscillate at any constant damping, so it falls as in Frank and Wolfe's method.
            step = 2.0 / (done + 2.0 / settings.mean_field_damping)
            kept += step * (probability - kept)
            weighted += step * (probability * weight - weighted)
    return FrozenState(curated, worth, price, duals, logits, shift)


def scores_at(state: FrozenState) -> Scores:
    """Probabilities and normalised weights at a frozen state."""
    probability, weight = probabilities(state.logits, state.shift, state.prepared.settings.weights)
    tokens = probability * state.prepared.length
    weight *= tokens.sum() / (tokens @ weight)
    return Scores(probability, weight.astype(np.float32))


def probabilities(logits: F64, shift: F64 | float, weights: tuple[float, ...]) -> tuple[F64, F64]:
    """Probability of being kept and expected weight if kept, (n,) each, once ``shift`` is taken from "skip"."""
    top = logits[:, 1:].max(axis=1)
    odds = np.exp(logits[:, 1:] - top[:, None])
    weight: F64 = odds @ np.asarray(weights[1:]) / odds.sum(axis=1)
    return sigmoid(keep_logit(logits) + shift), weight


def keep_logit(logits: F64) -> F64:
    """Log-odds (n,) of any action but "skip"."""
    top = logits[:, 1:].max(axis=1)
    return np.asarray(np.log(np.exp(logits[:, 1:] - top[:, None]).sum(axis=1)) + top - logits[:, 0])
