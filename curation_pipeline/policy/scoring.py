"""From a policy to inclusion probabilities and weights: a consistent frozen state, projected onto the constraints.

Convention: the budget counts ``n_tokens`` of drawn documents whatever their weight, so the shift of the logit of "skip"
solves ``sum(p_i * n_tokens_i) = budget`` (see ``projection``, which holds the toxicity ceiling and the group floors as
well). Weights are scaled so that their mean over the expected tokens is 1, hence ``sum(p_i * w_i * n_tokens_i) =
budget`` holds too. The state is frozen while documents are drawn, so the order of the draw does not matter.

The multipliers that training ended with stay in what the policy sees: they steer weights as well, which the projection
leaves alone. It adds only what is missing then, and is nothing where the policy holds the constraints by itself.

The state is found on a sample of the pool (``stream_sample``; a small pool is its own sample), and all documents are
then decided a block at a time (``stream_keep``). A pool in memory and one in many files take the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from curation_pipeline.policy.artefact import ScoringPolicy, load_policy
from curation_pipeline.policy.curated_set import (
    EVERY,
    CuratedSet,
    Duals,
    Prepared,
    Worth,
    clearing_price,
    prepare,
    survey_sample,
)
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Pool
from curation_pipeline.policy.population import composition_of
from curation_pipeline.policy.projection import SWEEPS, project, sigmoid
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.stream_keep import Cut, Decide, Frozen, Kept, keep_and_weight
from curation_pipeline.policy.stream_sample import key_columns, sample_rows

__all__ = [
    "Decide", "FrozenState", "PolicyDecision", "Rule", "ScoringPolicy", "frozen_state", "keep_and_weight",
    "load_policy", "policy_rule", "policy_state", "probabilities", "score_pool", "scores_at", "scores_by",
    "state_observations", "with_budget",
]  # fmt: skip

ROUGH_SWEEPS = 3
"""Sweeps of the projection between the rounds; the last round solves it fully."""
_PROGRESS = 0.5
"""The set is frozen halfway through, with this share of the budget used."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to decide, and how the state at which it decides is found.

    Attributes:
        decide: logits at a state.
        normaliser: feature constants.
        settings: of the process.
        duals: multipliers to start from.
        adapt_duals: speed of dual ascent between the rounds; 0 keeps the multipliers as trained.
        rounds: instead of the settings' ``mean_field_rounds``.
    """

    decide: Decide
    normaliser: Normaliser
    settings: PolicySettings
    duals: Duals
    adapt_duals: float = 0.0
    rounds: int | None = None

    def freeze(
        self,
        sample: Pool,
        multiplicity: F64,
        composition: pl.DataFrame,
        objective: Objective,
    ) -> Frozen:
        """What decides every document of a pool.

        Args:
            sample: see ``stream_sample``.
            multiplicity: (n,) how many tokens of the pool each of its tokens stands for.
            composition: of the whole pool.
            objective: of the iteration, with the budget of the draw.
        """
        names = {axis: codes.names for axis, codes in sample.columns.items()}
        prepared = survey_sample(sample, multiplicity, composition, names, objective, self.normaliser, self.settings)
        state = frozen_state(prepared, self.decide, self.duals, self.adapt_duals, self.rounds, multiplicity)
        curated = state.curated
        sums = {name: getattr(curated, name).copy() for name in CuratedSet.SUMS}
        return Frozen(
            prepared.population, self.normaliser, self.decide, sums, curated.budget, state.price, state.duals,
            state.multipliers,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FrozenState:
    """The state at which a pool is scored, with the n documents that it was found on.

    Attributes:
        curated: half of the expected curated set, consistent with the selection that it leads to.
        worth: of the documents at this state.
        price, duals: the clearing price and the multipliers.
        logits: (n, actions).
        shift: (n,) what is taken from the logit of "skip" so that budget, floors and ceiling are met.
        multipliers: (G + 2,) of the projection, per unit of ``Prepared.constraints``.
    """

    curated: CuratedSet
    worth: Worth
    price: float
    duals: Duals
    logits: F64
    shift: F64
    multipliers: F64

    @property
    def prepared(self) -> Prepared:
        """The documents and objective behind the state."""
        return self.curated.prepared


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """The trained network's logits."""

    policy: ScoringPolicy

    def __call__(self, curated: CuratedSet, worth: Worth, price: float, duals: Duals) -> F64:
        """Logits (n, actions) of what the network sees at the state."""
        return self.policy.logits(curated.observe(EVERY, worth, price, duals, _PROGRESS)).astype(np.float64)


def policy_rule(policy: ScoringPolicy) -> Rule:
    """How a trained policy decides."""
    return Rule(PolicyDecision(policy), policy.normaliser, policy.settings, policy.duals)


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
    return scores_by(policy_rule(policy), pool, with_budget(objective, budget_tokens))


def scores_by(rule: Rule, pool: Pool, objective: Objective) -> Scores:
    """Scores of a pool in memory by a rule, under the objective's budget."""
    composition = composition_of(pool)
    rows, multiplicity = sample_rows(key_columns(pool), composition)
    frozen = rule.freeze(pool.take(rows), multiplicity, composition, objective)
    return _scores(frozen.keep(pool), pool, objective, rule.settings.min_effective_share)


def scores_at(state: FrozenState) -> Scores:
    """Scores of the documents that a state was found on."""
    prepared = state.prepared
    keep, weight = keep_and_weight(state.logits, prepared.settings.weights)
    kept = Kept.of(keep + prepared.constraints(weight) @ state.multipliers, weight)
    return _scores(kept, prepared.pool, prepared.objective, prepared.settings.min_effective_share)


def _scores(kept: Kept, pool: Pool, objective: Objective, least: float) -> Scores:
    cut = Cut.of(kept.histogram(pool.n_tokens), objective.budget_tokens, least)
    return Scores(cut.probability(kept), cut.weight(kept))


def policy_state(policy: ScoringPolicy, pool: Pool, objective: Objective, budget_tokens: int) -> FrozenState:
    """The frozen state of a policy with all documents of a pool."""
    prepared = prepare(pool, with_budget(objective, budget_tokens), policy.normaliser, policy.settings)
    return frozen_state(prepared, PolicyDecision(policy), policy.duals)


def state_observations(state: FrozenState) -> F32:
    """What the policy sees of every document (n, f) at a frozen state."""
    return state.curated.observe(EVERY, state.worth, state.price, state.duals, _PROGRESS)


def with_budget(objective: Objective, budget_tokens: int) -> Objective:
    """The same objective under another budget."""
    return replace(objective, budget_tokens=budget_tokens)


def frozen_state(
    prepared: Prepared,
    decide: Decide,
    duals: Duals,
    adapt_duals: float = 0.0,
    rounds: int | None = None,
    multiplicity: F64 | None = None,
) -> FrozenState:
    """Damped mean-field iteration: the state that the expected selection at that state leads back to.

    Args:
        prepared: pool and objective.
        decide: logits of all documents at a state.
        duals: multipliers to start from.
        adapt_duals: speed of dual ascent between the rounds; 0 keeps the multipliers as trained.
        rounds: instead of the settings' ``mean_field_rounds``.
        multiplicity: (n,) how many tokens of the pool each token stands for; None for one each.
    """
    settings, budget = prepared.settings, prepared.budget
    times = np.ones(len(prepared.pool)) if multiplicity is None else multiplicity
    mass = prepared.length * times
    kept = np.full(len(mass), budget / mass.sum())
    weighted = kept.copy()
    multipliers: F64 | None = None
    total_rounds = rounds or settings.mean_field_rounds
    for done in range(total_rounds + 1):
        curated = CuratedSet(prepared, budget)
        # Halfway: the middle of what a policy sees in training, budget and pseudo-counts included.
        curated.add(EVERY, _PROGRESS * kept * times, _PROGRESS * weighted * times)
        if adapt_duals and done:
            duals = curated.update_duals(duals, adapt_duals)
        worth = curated.worth(EVERY, duals)
        price = clearing_price(curated.critical_price(EVERY, worth), mass, budget)
        logits = decide(curated, worth, price, duals)
        keep, weight = keep_and_weight(logits, settings.weights)
        columns, sweeps = prepared.constraints(weight), ROUGH_SWEEPS if done < total_rounds else SWEEPS
        tilt = project(keep, mass, budget, columns, multipliers, sweeps)
        multipliers, shift = tilt.multipliers, tilt.shift
        if done < total_rounds:
            probability = sigmoid(keep + shift)
            # Sharp decisions oscillate at any constant damping, so it falls as in Frank and Wolfe's method.
            step = 2.0 / (done + 2.0 / settings.mean_field_damping)
            kept += step * (probability - kept)
            weighted += step * (probability * weight - weighted)
    return FrozenState(curated, worth, price, duals, logits, shift, tilt.multipliers)


def probabilities(logits: F64, shift: F64 | float, weights: tuple[float, ...]) -> tuple[F64, F64]:
    """Probability of being kept and expected weight if kept, (n,) each, once ``shift`` is taken from "skip"."""
    keep, weight = keep_and_weight(logits, weights)
    return sigmoid(keep + shift), weight
