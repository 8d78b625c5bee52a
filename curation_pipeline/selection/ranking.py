"""Rankings: the documents of the highest score until the budget is spent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.choosing import best, chosen, ordered, shuffled, static_reward
from curation_pipeline.selection.settings import BaselineSettings


@dataclass(frozen=True, slots=True)
class LengthOnly:
    """The longest documents first: whatever this arm reaches, length alone reaches."""

    name: str = "length_only"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the longest documents."""
        return best(pool, pool.n_tokens.astype(np.float64), budget_tokens, "too short")


@dataclass(frozen=True, slots=True)
class TopK:
    """The documents of the highest reward alpha R_s + beta R_a: optimal for an additive reward, blind to the set."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "top_k"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the best documents."""
        return best(pool, static_reward(pool, self.settings), budget_tokens, "reward too low")


@dataclass(frozen=True, slots=True)
class LengthResidual:
    """Top-k by what is left of the reward once length is taken out of it.

    The reward's regression on the logarithm of the tokens and its square is subtracted: how far top-k falls by this is
    how much of it was length.
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "length_residual"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the documents of the highest residual."""
        reward = static_reward(pool, self.settings)
        log_tokens = pool.log_tokens.astype(np.float64)
        inputs = np.stack([np.ones(len(pool)), log_tokens, log_tokens**2], axis=1)
        # Rounded, so that the order of summation decides no tie.
        residual = np.round(reward - inputs @ np.linalg.lstsq(inputs, reward, rcond=None)[0], 9)
        return best(pool, residual, budget_tokens, "reward too low for its length")


@dataclass(frozen=True, slots=True)
class TopKPerTopic:
    """Top-k within each topic, each topic with its share of the pool's tokens."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "top_k_per_topic"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the best documents of each topic."""
        topic, k = pool.topic.code, len(pool.topic.names)
        share = min(budget_tokens / pool.total_tokens, 1.0)
        order = ordered(pool, static_reward(pool, self.settings), topic)
        total = np.bincount(topic, weights=pool.n_tokens, minlength=k)
        start = np.concatenate([[0.0], np.cumsum(total)[:-1]])
        rank = np.cumsum(pool.n_tokens[order]) - start[topic[order]]
        return chosen(len(pool), order[rank <= share * total[topic[order]]], "reward too low for its topic")


@dataclass(frozen=True, slots=True)
class GumbelTopK:
    """Sampling without replacement in proportion to exp(reward / temperature), by the Gumbel-top-k trick.

    The documents of the largest reward / temperature + Gumbel noise are, in that order, a sequential sample without
    replacement from the softmax (Kool et al. 2019, arXiv:1903.06059; Vieira 2014). A high temperature is random, a low
    one top-k. The noise of a document is a function of its id and the seed.
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "gumbel_top_k"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the documents of the largest perturbed reward."""
        keys = static_reward(pool, self.settings) / self.settings.gumbel_temperature
        noise = -np.log(-np.log(shuffled(pool, seed, "gumbel_top_k")))
        return best(pool, keys + noise, budget_tokens, "reward and luck too low")
