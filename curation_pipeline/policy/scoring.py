"""From a policy to inclusion probabilities and weights: a consistent frozen state, projected onto the constraints.

Convention: the budget counts ``n_tokens`` of drawn documents whatever their weight, so the shift of the logit of "skip"
solves ``sum(p_i * n_tokens_i) = budget`` (see ``projection``, which holds the toxicity ceiling and the floors as well).
Weights are scaled so that their mean over the expected tokens is 1, hence ``sum(p_i * w_i * n_tokens_i) = budget``
holds too. The state is frozen while documents are drawn, so the order of the draw does not matter.

The multipliers that training ended with stay in what the policy sees: they steer weights as well, which the projection
leaves alone. It adds only what is missing then, and is nothing where the policy holds the constraints by itself.

The state is found on a sample of the pool (``stream_sample``; a small pool is its own sample), and all documents are
then decided a block at a time. A pool in memory and one in many files take the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from curation_pipeline.policy.artefact import ScoringPolicy, load_policy
from curation_pipeline.policy.candidates import EVERY, Candidates
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.keep_logits import BudgetShift, KeepLogits, keep_and_weight, probabilities
from curation_pipeline.policy.market import clearing_price
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Pool
from curation_pipeline.policy.pool_statistics import composition_of
from curation_pipeline.policy.problem import (
    ConstraintDuals,
    Marginal,
    RewardScale,
    SelectionProblem,
    prepare,
    prepare_sample,
)
from curation_pipeline.policy.projection import SWEEPS, project, sigmoid
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.selection_state import SelectionState
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.policy.stream_sample import key_columns, sample_rows

__all__ = [
    "DecisionRule", "FrozenRule", "FrozenState", "PolicyDecision", "frozen_on", "frozen_state", "load_policy",
    "policy_rule", "probabilities", "score_pool", "scores_at", "scores_by", "state_observations", "with_budget",
]  # fmt: skip

ROUGH_SWEEPS = 3
"""Sweeps of the projection between the rounds; the last round solves it fully."""
_PROGRESS = 0.5
"""The set is frozen halfway through, with this share of the budget used."""
BLOCK = 4096
"""Documents that are decided at once: their arrays stay in the cache."""


class DecisionFunction(Protocol):
    """A way to answer a state: the trained policy, or the best response."""

    def __call__(
        self, problem: SelectionProblem, state: SelectionState, marginal: Marginal, price: float, duals: ConstraintDuals
    ) -> F64:
        """Logits (n, actions) of all candidates of a problem, given what each adds to the state, and the prices."""


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """The trained network's logits."""

    policy: ScoringPolicy

    def __call__(
        self, problem: SelectionProblem, state: SelectionState, marginal: Marginal, price: float, duals: ConstraintDuals
    ) -> F64:
        """Logits (n, actions) of what the network sees at the state."""
        observed = problem.observe(state, EVERY, marginal, price, duals, _PROGRESS)
        return self.policy.logits(observed).astype(np.float64)


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """A way to decide, and how the state at which it decides is found.

    Attributes:
        decide: logits at a state.
        normaliser: feature constants.
        settings: of the process.
        duals: multipliers to start from.
        adapt_duals: speed of dual ascent between the rounds; 0 keeps the multipliers as trained.
        rounds: of the mean-field iteration; None for the settings' ``mean_field_rounds``.
    """

    decide: DecisionFunction
    normaliser: Normaliser
    settings: PolicySettings
    duals: ConstraintDuals
    adapt_duals: float = 0.0
    rounds: int | None = None

    def freeze(self, sample: Pool, multiplicity: F64, composition: pl.DataFrame, objective: Objective) -> FrozenRule:
        """What decides every document of a pool.

        Args:
            sample: see ``stream_sample``.
            multiplicity: (n,) how many tokens of the pool each of its tokens stands for.
            composition: of the whole pool.
            objective: of the iteration, with the budget of the draw.
        """
        problem = prepare_sample(sample, multiplicity, composition, objective, self.normaliser, self.settings)
        found = frozen_state(problem, self, multiplicity)
        return FrozenRule(
            self.decide, self.normaliser, problem.scale, found.state, found.price, found.duals, found.multipliers
        )


@dataclass(frozen=True, slots=True)
class FrozenRule:
    """All that a decision depends on besides the document.

    Attributes:
        decide: logits at a state.
        normaliser: feature constants.
        scale: of the reward.
        state: half of the expected selection.
        price, duals: at the state.
        multipliers: (G + 2,) of the projection, per unit of ``Candidates.constraints``.
    """

    decide: DecisionFunction
    normaliser: Normaliser
    scale: RewardScale
    state: SelectionState
    price: float
    duals: ConstraintDuals
    multipliers: F64

    def keep(self, pool: Pool) -> KeepLogits:
        """How much each document of the pool, or of a part of it, is wanted."""
        n = len(pool)
        kept = KeepLogits(np.empty(n, np.int32), np.empty(n, np.int32))
        for start in range(0, n, BLOCK):
            rows = slice(start, min(start + BLOCK, n))
            candidates = Candidates.of(self.state.statistics, self.normaliser, pool.take(rows))
            problem = SelectionProblem(candidates, self.scale)
            marginal = problem.marginal_gain(self.state, EVERY, self.duals)
            logits = self.decide(problem, self.state, marginal, self.price, self.duals)
            block = _kept(candidates, logits, self.multipliers)
            kept.odds[rows], kept.weight[rows] = block.odds, block.weight
        return kept


@dataclass(frozen=True, slots=True)
class FrozenState:
    """The state at which a pool is scored, with the n documents that it was found on.

    Attributes:
        problem: the documents and the objective.
        state: half of the expected selection, consistent with the selection that it leads to.
        marginal: of the documents at this state.
        price, duals: the clearing price and the multipliers.
        logits: (n, actions).
        shift: (n,) what is added to the log-odds of being kept so that budget, floors and ceiling are met.
        multipliers: (G + 2,) of the projection, per unit of ``Candidates.constraints``.
    """

    problem: SelectionProblem
    state: SelectionState
    marginal: Marginal
    price: float
    duals: ConstraintDuals
    logits: F64
    shift: F64
    multipliers: F64


def policy_rule(policy: ScoringPolicy) -> DecisionRule:
    """How a trained policy decides."""
    return DecisionRule(PolicyDecision(policy), policy.normaliser, policy.settings, policy.duals)


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


def scores_by(rule: DecisionRule, pool: Pool, objective: Objective) -> Scores:
    """Scores of a pool in memory by a rule, under the objective's budget."""
    composition = composition_of(pool)
    rows, multiplicity = sample_rows(key_columns(pool), composition)
    frozen = rule.freeze(pool.take(rows), multiplicity, composition, objective)
    return _scores(frozen.keep(pool), pool, objective, rule.settings.min_effective_share)


def scores_at(found: FrozenState) -> Scores:
    """Scores of the documents that a state was found on."""
    candidates = found.problem.candidates
    kept = _kept(candidates, found.logits, found.multipliers)
    statistics = candidates.statistics
    return _scores(kept, candidates.pool, statistics.objective, statistics.settings.min_effective_share)


def _kept(candidates: Candidates, logits: F64, multipliers: F64) -> KeepLogits:
    keep, weight = keep_and_weight(logits, candidates.statistics.settings.weights)
    return KeepLogits.of(keep + candidates.constraints(weight) @ multipliers, weight)


def _scores(kept: KeepLogits, pool: Pool, objective: Objective, least: float) -> Scores:
    shift = BudgetShift.of(kept.histogram(pool.n_tokens), objective.budget_tokens, least)
    return Scores(shift.probability(kept), shift.weight(kept))


def frozen_on(rule: DecisionRule, pool: Pool, objective: Objective) -> FrozenState:
    """The frozen state of a rule with all documents of a pool."""
    return frozen_state(prepare(pool, objective, rule.normaliser, rule.settings), rule)


def state_observations(found: FrozenState) -> F32:
    """What the policy sees of every document (n, f) at a frozen state."""
    return found.problem.observe(found.state, EVERY, found.marginal, found.price, found.duals, _PROGRESS)


def with_budget(objective: Objective, budget_tokens: int) -> Objective:
    """The same objective under another budget."""
    return replace(objective, budget_tokens=budget_tokens)


def frozen_state(problem: SelectionProblem, rule: DecisionRule, multiplicity: F64 | None = None) -> FrozenState:
    """Damped mean-field iteration: the state that the expected selection at that state leads back to.

    Args:
        problem: candidates and objective.
        rule: how to decide; its normaliser is not looked at.
        multiplicity: (n,) how many tokens of the pool each token stands for; None for one each.
    """
    candidates, settings = problem.candidates, rule.settings
    budget = candidates.statistics.budget
    times = np.ones(len(candidates)) if multiplicity is None else multiplicity
    mass = candidates.length * times
    kept = np.full(len(mass), budget / mass.sum())
    weighted = kept.copy()
    multipliers: F64 | None = None
    duals, rounds = rule.duals, rule.rounds or settings.mean_field_rounds
    for done in range(rounds + 1):
        state = SelectionState(candidates.statistics, budget)
        # Halfway: the middle of what a policy sees in training, budget and pseudo-counts included.
        state.add(candidates, EVERY, _PROGRESS * kept * times, _PROGRESS * weighted * times)
        if rule.adapt_duals and done:
            duals = duals.ascend(state, rule.adapt_duals)
        marginal = problem.marginal_gain(state, EVERY, duals)
        price = clearing_price(problem.critical_price(marginal), mass, budget)
        logits = rule.decide(problem, state, marginal, price, duals)
        keep, weight = keep_and_weight(logits, settings.weights)
        columns, sweeps = candidates.constraints(weight), ROUGH_SWEEPS if done < rounds else SWEEPS
        tilt = project(keep, mass, budget, columns, multipliers, sweeps)
        multipliers = tilt.multipliers
        if done < rounds:
            probability = sigmoid(keep + tilt.shift)
            # Sharp decisions oscillate at any constant damping, so it falls as in Frank and Wolfe's method.
            step = 2.0 / (done + 2.0 / settings.mean_field_damping)
            kept += step * (probability - kept)
            weighted += step * (probability * weight - weighted)
    return FrozenState(problem, state, marginal, price, duals, logits, tilt.shift, tilt.multipliers)
