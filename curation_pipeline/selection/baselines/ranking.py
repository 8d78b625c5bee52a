"""Rankings: the documents of the highest score until the budget is spent."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import best, chosen, ordered, shuffled, static_reward
from curation_pipeline.selection.inputs import Inputs


def length_only(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """1 for the longest documents: whatever this arm reaches, length alone reaches."""
    return best(pool, pool.n_tokens.astype(np.float64), budget_tokens, "too short")


def top_k(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """1 for the documents of the highest reward alpha R_s + beta R_a: optimal if it is additive, blind to the set."""
    return best(pool, static_reward(pool, settings), budget_tokens, "reward too low")


def length_residual(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """Top-k by what is left of the reward once length is taken out of it.

    The reward's regression on the logarithm of the tokens and its square is subtracted: how far top-k falls by this is
    how much of it was length.
    """
    reward = static_reward(pool, settings)
    log_tokens = pool.log_tokens.astype(np.float64)
    columns = np.stack([np.ones(len(pool)), log_tokens, log_tokens**2], axis=1)
    # Rounded, so that the order of summation decides no tie.
    residual = np.round(reward - columns @ np.linalg.lstsq(columns, reward, rcond=None)[0], 9)
    return best(pool, residual, budget_tokens, "reward too low for its length")


def top_k_per_topic(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """Top-k within each topic, each topic with its share of the pool's tokens."""
    topic, k = pool.topic.code, len(pool.topic.names)
    share = min(budget_tokens / pool.total_tokens, 1.0)
    order = ordered(pool, static_reward(pool, settings), topic)
    total = np.bincount(topic, weights=pool.n_tokens, minlength=k)
    start = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    rank = np.cumsum(pool.n_tokens[order]) - start[topic[order]]
    return chosen(len(pool), order[rank <= share * total[topic[order]]], "reward too low for its topic")


class GumbelSettings(SharedSettings):
    """Of Gumbel top-k."""

    gumbel_temperature: float = Field(
        default=0.05, gt=0, le=100, description="Temperature of Gumbel top-k, in units of reward; 0 would be top-k."
    )


def gumbel_top_k(pool: Pool, budget_tokens: int, seed: int, settings: GumbelSettings, inputs: Inputs) -> Scores:
    """Sampling without replacement in proportion to exp(reward / temperature), by the Gumbel-top-k trick.

    The documents of the largest reward / temperature + Gumbel noise are, in that order, a sequential sample without
    replacement from the softmax. A high temperature is random, a low one top-k. The noise of a document is a function
    of its id and the seed.
    """
    keys = static_reward(pool, settings) / settings.gumbel_temperature
    noise = -np.log(-np.log(shuffled(pool, seed, "gumbel_top_k")))
    return best(pool, keys + noise, budget_tokens, "reward and luck too low")


BASELINES = (
    Baseline("length_only", "the longest documents", length_only),
    Baseline("length_residual", "top-k by the part of the reward that length does not explain", length_residual),
    Baseline("top_k", "the highest reward", top_k),
    Baseline("top_k_per_topic", "the highest reward within each topic", top_k_per_topic),
    Baseline(
        "gumbel_top_k",
        "a sample in proportion to exp(reward) (Kool et al. 2019, arXiv:1903.06059; Vieira 2014)",
        gumbel_top_k,
        settings=GumbelSettings,
    ),
)
