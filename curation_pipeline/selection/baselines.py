"""Every baseline beside the policy, behind the same interface and under the same token budget.

A deterministic baseline gives probability 1 to what it chooses and a tiny one to the rest, which is drawn only to fill
the last tokens of the budget (or, when too little passes a filter, as much as is needed to keep arms at equal tokens).
All weights are 1; top-k with fractional weights is the closed-form control without diversity and credit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F64, Codes, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.selection.settings import BaselineSettings

TINY = 1e-9
"""Probability of a document that a deterministic baseline would rather not draw."""


@dataclass(frozen=True, slots=True)
class Random:
    """Every document with the same probability."""

    name: str = "random"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Constant probability: the budget's share of the pool's tokens."""
        return _scores(np.full(len(pool), min(budget_tokens / pool.total_tokens, 1.0)))


@dataclass(frozen=True, slots=True)
class Stratified:
    """An equal share of the budget for each topic (or source or domain), random within; small ones are exhausted."""

    axis: Literal["topic", "source", "domain"] = "topic"
    name: str = "stratified"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """min(1, c / tokens of the stratum), with c such that the budget is met."""
        codes: Codes = getattr(pool, self.axis)
        tokens = codes.shares(pool.n_tokens.astype(np.float64)) * pool.total_tokens
        return _scores((_level(tokens, budget_tokens) / tokens)[codes.code])


@dataclass(frozen=True, slots=True)
class Threshold:
    """The plain filter: P(harm) at or below ``settings.toxicity_threshold``, random within what passes."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "threshold"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Constant probability for what passes."""
        passes = pool.p_harm <= self.settings.toxicity_threshold
        available = int(pool.n_tokens[passes].sum())
        inside = min(budget_tokens / available, 1.0) if available else 0.0
        return _scores(np.where(passes, inside, TINY), ~passes, "P(harm) above the threshold")


@dataclass(frozen=True, slots=True)
class ThresholdWithinSource:
    """A threshold of its own for each source, which keeps the source's share of the batch: the baseline to beat."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "threshold_within_source"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Random within the cleanest ``1 - source_drop`` of each source's tokens, more if the budget needs more."""
        share = min(budget_tokens / pool.total_tokens, 1.0)
        keep = max(1.0 - self.settings.source_drop, share)
        order = np.lexsort((pool.p_harm, pool.source.code))
        probability = np.full(len(pool), TINY)
        for code in range(len(pool.source.names)):
            rows = order[pool.source.code[order] == code]
            tokens = pool.n_tokens[rows]
            eligible = rows[np.cumsum(tokens) - tokens < keep * tokens.sum()]
            wanted = share * float(tokens.sum())
            probability[eligible] = min(wanted / float(pool.n_tokens[eligible].sum()), 1.0)
        return _scores(probability, probability == TINY, "among the most harmful of its source")


@dataclass(frozen=True, slots=True)
class LengthOnly:
    """The longest documents first: whatever this arm reaches, length alone reaches."""

    name: str = "length_only"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the longest documents."""
        return _first(pool, pool.n_tokens.astype(np.float64), budget_tokens, "too short")


@dataclass(frozen=True, slots=True)
class TopK:
    """The documents of the highest reward alpha R_s + beta R_a: optimal for an additive reward, blind to the set."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "top_k"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the best documents."""
        return _first(pool, _reward(pool, self.settings), budget_tokens, "reward too low")


@dataclass(frozen=True, slots=True)
class TopKPerTopic:
    """Top-k within each topic, each topic with its share of the pool's tokens."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "top_k_per_topic"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the best documents of each topic."""
        reward = _reward(pool, self.settings)
        share = min(budget_tokens / pool.total_tokens, 1.0)
        order = np.lexsort((-reward, pool.topic.code))
        chosen = np.zeros(len(pool), np.bool_)
        for code in range(len(pool.topic.names)):
            rows = order[pool.topic.code[order] == code]
            cumulative = np.cumsum(pool.n_tokens[rows])
            chosen[rows[cumulative <= share * cumulative[-1]]] = True
        return _scores(np.where(chosen, 1.0, TINY), ~chosen, "reward too low for its topic")


BASELINES: dict[str, Callable[[BaselineSettings], Selector]] = {
    "random": lambda settings: Random(),
    "stratified": lambda settings: Stratified(),
    "threshold": Threshold,
    "threshold_within_source": ThresholdWithinSource,
    "length_only": lambda settings: LengthOnly(),
    "top_k": TopK,
    "top_k_per_topic": TopKPerTopic,
}
"""The baselines by name."""


def baseline(name: str, settings: BaselineSettings | None = None) -> Selector:
    """The baseline called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in BASELINES:
        raise ConfigError(f"no baseline {name!r}; there are {', '.join(sorted(BASELINES))}")
    return BASELINES[name](settings or BaselineSettings())


def _reward(pool: Pool, settings: BaselineSettings) -> F64:
    return settings.safety_weight * pool.safety.astype(np.float64) + settings.alignment_weight * pool.alignment


def _first(pool: Pool, score: F64, budget_tokens: int, why: str) -> Scores:
    """Probability 1 for the documents of the highest score that fit the budget together."""
    order = np.argsort(-score, kind="stable")
    chosen = np.zeros(len(pool), np.bool_)
    chosen[order[np.cumsum(pool.n_tokens[order]) <= budget_tokens]] = True
    return _scores(np.where(chosen, 1.0, TINY), ~chosen, why)


def _level(tokens: F64, budget: float) -> F64:
    """What each stratum gives: min(tokens, c), with c such that all give the budget together."""
    if budget >= tokens.sum():
        return tokens
    left, count = float(budget), len(tokens)
    for size in np.sort(tokens):
        if left / count <= size:
            break
        left -= float(size)
        count -= 1
    return np.minimum(tokens, left / count)


def _scores(probability: F64, refused: np.ndarray | None = None, why: str = "") -> Scores:
    reason = None if refused is None else np.where(refused, why, "").tolist()
    return Scores(probability, np.ones(len(probability), np.float32), reason)
