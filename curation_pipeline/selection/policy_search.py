"""Cross-entropy search over the policy's own class, at a fixed number of evaluations (Rubinstein and Kroese 2004).

The searched policy sees the candidate features that the learned one sees, through a linear map or one hidden layer, and
keeps a document with probability sigmoid(z_i + b), b such that the budget is met. A round draws parameters from a
Gaussian with independent coordinates, evaluates each, and fits the Gaussian to the best of them. What is evaluated
is a whole batch: by default its value under the objective, or whatever the caller measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, Pool, Rows
from curation_pipeline.policy.projection import sigmoid, solve_shift
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import with_budget
from curation_pipeline.reward.composite import composite_reward
from curation_pipeline.seeds import derive, generator
from curation_pipeline.selection.baseline import SharedSettings
from curation_pipeline.selection.baselines.controls import SearchSettings
from curation_pipeline.selection.baselines.regmix import predicted
from curation_pipeline.selection.choosing import BY_CHANCE, crossing, scores, shuffled
from curation_pipeline.selection.inputs import Evaluate, Inputs

_SPREAD = 1.0
_LEAST_SPREAD = 0.05
"""The Gaussian's spread at the start, and below which it never falls, so that a search does not end early."""


def objective_of(settings: SharedSettings, inputs: Inputs, budget_tokens: int) -> Objective:
    """The objective that was given, or one of the baselines' settings, under the budget of the call."""
    if inputs.objective is not None:
        return with_budget(inputs.objective, budget_tokens)
    return Objective(
        settings.safety_weight,
        settings.alignment_weight,
        settings.diversity_weight,
        settings.credit_weight if inputs.credit is not None else 0.0,
        inputs.credit,
        budget_tokens,
    )


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """The best policy that a search of ``search_evaluations`` batches finds."""

    settings: SearchSettings = field(default_factory=SearchSettings)
    inputs: Inputs = field(default_factory=Inputs)
    name: str = "cross_entropy"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Probabilities of the policy that the search ends with."""
        settings, constants = self.settings, self.inputs.policy
        objective = objective_of(settings, self.inputs, budget_tokens)
        fitted = derive(seed, "normaliser")
        normaliser = Normaliser.fit(pool, constants.random_features, constants.novelty_bandwidth, fitted)
        phi = normaliser.random_features(pool)
        features = _observed(normaliser.features(pool), phi, pool, objective)
        share = min(budget_tokens / pool.total_tokens, 1.0)
        value: Evaluate
        if self.inputs.evaluate is not None:
            rows, value = np.arange(len(pool)), self.inputs.evaluate
        else:
            rows = np.argsort(shuffled(pool, seed, "search"), kind="stable")[: settings.search_documents]
            value = set_value(pool, objective, phi, constants.novelty_share, rows)
        tokens = pool.n_tokens.astype(np.float64)
        seen, cost = features[rows], tokens[rows]

        def outcome(parameters: F64) -> float:
            return value(inclusion(_logits(parameters, seen, settings.search_hidden), cost, share))

        found = search(outcome, _size(features.shape[1], settings.search_hidden), settings, seed)
        probability = inclusion(_logits(found, features, settings.search_hidden), tokens, share)
        return scores(probability, np.where(probability < 0.5, "the searched policy would rather skip it", BY_CHANCE))


def search(outcome: Evaluate, size: int, settings: SearchSettings, seed: int) -> F64:
    """Parameters (size,) of the largest outcome, as far as ``search_evaluations`` of it go."""
    rng = generator(seed, "cross_entropy")
    mean, spread = np.zeros(size), np.full(size, _SPREAD)
    elite = max(1, round(settings.search_elite * settings.search_population))
    left, best, record = settings.search_evaluations, mean, -np.inf
    while left > 0:
        tried = mean + spread * rng.standard_normal((min(settings.search_population, left), size))
        # The mean itself is worth an evaluation: averaging the best is often better than each of them.
        tried[0] = mean
        values = np.array([outcome(parameters) for parameters in tried])
        left -= len(tried)
        order = np.argsort(-values, kind="stable")
        if values[order[0]] > record:
            record, best = float(values[order[0]]), tried[order[0]]
        step = settings.search_smoothing
        top = tried[order[:elite]]
        mean = (1.0 - step) * mean + step * top.mean(axis=0)
        spread = np.maximum((1.0 - step) * spread + step * top.std(axis=0), _LEAST_SPREAD)
    return best


def inclusion(logits: F64, tokens: F64, share: float) -> F64:
    """sigmoid(logits + b) with b such that the expected tokens are a share of all of them."""
    if share >= 1.0:
        return np.ones(len(logits))
    return sigmoid(logits + solve_shift(logits, tokens, share * float(tokens.sum())))


def set_value(pool: Pool, objective: Objective, phi: F32, novelty_share: float, rows: Rows) -> Evaluate:
    """The value of an expected batch under an objective, per token, with the rewards' own terms.

    The composite reward of the batch's means over its tokens, with the diversity of the set: novelty is one minus the
    mean kernel of two of its documents, coverage minus half the Kullback-Leibler divergence of its bins (topic x
    identity group) from the pool's, and credit the surrogate's gain over the pool's composition, in the unit of
    ``DownstreamCredit.at``.

    Args:
        pool: of n documents.
        objective: its budget is not looked at.
        phi: (n, D) random features.
        novelty_share: part of novelty in the diversity.
        rows: (m,) documents that the expected weights speak of.
    """
    tokens, features = pool.n_tokens[rows].astype(np.float64), phi[rows]
    safety, alignment = (part[rows].astype(np.float64) for part in (pool.safety, pool.alignment))
    codes, k = crossing(pool.topic, pool.group)
    coverage_bin, stratum = codes[rows], pool.stratum.code[rows]
    there = np.bincount(coverage_bin, weights=tokens, minlength=k) / tokens.sum()
    share = pool.stratum.shares(pool.n_tokens.astype(np.float64))
    credit = objective.credit.indexed(pool.stratum.names) if objective.credit is not None else None
    unit, origin = 1.0, 0.0
    if credit is not None:
        slope = credit.share + credit.coverage / (share + credit.eps)
        unit = max(float(np.sqrt(share @ (slope - float(share @ slope)) ** 2)), 1e-12)
        origin = predicted(credit, share)

    def value(weights: F64) -> float:
        mass = weights * tokens
        mass /= max(float(mass.sum()), 1e-12)
        mean = mass.astype(np.float32) @ features
        held = np.bincount(coverage_bin, weights=mass, minlength=k)
        divergence = float(held @ np.log(np.maximum(held, 1e-12) / np.maximum(there, 1e-12)))
        diversity = novelty_share * (1.0 - float(mean @ mean)) - (1.0 - novelty_share) * 0.5 * divergence
        credited = 0.0
        if credit is not None and credit.r2 > 0:
            composition = np.bincount(stratum, weights=mass, minlength=len(credit.share))
            credited = credit.r2 * (predicted(credit, composition) - origin) / unit
        return float(composite_reward(objective, float(mass @ safety), float(mass @ alignment), diversity, credited))

    return value


def _observed(features: F32, phi: F32, pool: Pool, objective: Objective) -> F64:
    """Candidate features, and a document's relation to the set at the pool's own composition.

    These are its reward, its novelty, the share of its bin and the credit of its stratum.
    """
    share = pool.n_tokens / pool.total_tokens
    code, k = crossing(pool.topic, pool.group)
    columns = [
        composite_reward(objective, pool.safety, pool.alignment),
        1.0 - phi @ (share @ phi),
        np.log(np.bincount(code, weights=share, minlength=k))[code],
    ]
    if objective.credit is not None:
        credit = objective.credit.indexed(pool.stratum.names)
        columns.append(credit.at(pool.stratum.shares(share))[pool.stratum.code])
    relative = np.stack(columns, axis=1)
    relative = (relative - relative.mean(axis=0)) / np.maximum(relative.std(axis=0), 1e-6)
    return np.concatenate([features.astype(np.float64), relative], axis=1)


def _size(inputs: int, hidden: int) -> int:
    return inputs if hidden == 0 else hidden * (inputs + 2)


def _logits(parameters: F64, features: F64, hidden: int) -> F64:
    if hidden == 0:
        return np.asarray(features @ parameters)
    first, bias, last = np.split(parameters, [hidden * features.shape[1], hidden * (features.shape[1] + 1)])
    layer = np.maximum(features @ first.reshape(-1, hidden) / np.sqrt(features.shape[1]) + bias, 0.0)
    return np.asarray(layer @ last)
