"""Fractional weights for any baseline, so that no arm is ahead only because it may weigh what it draws."""

from __future__ import annotations

import numpy as np

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.baseline import SharedSettings
from curation_pipeline.selection.choosing import ordered, static_reward

LOW, HIGH = 0.5, 2.0


def fractional(pool: Pool, scores: Scores, settings: SharedSettings) -> Scores:
    """The same probabilities with weights 2, 1 and 0.5 by rank of the reward within what is chosen.

    In each topic, the share ``doubled_share`` of the expected tokens whose documents have the highest reward gets 2,
    twice that share at the other end gets 0.5, the rest 1: the token-weighted mean stays 1, and no topic gains or loses
    by it. Ranking over the whole batch instead would move tokens between topics, which is the selector's business.

    Args:
        pool: of n documents.
        scores: of any selector; its own weights are replaced.
        settings: the reward and the share.
    """
    reward = static_reward(pool, settings)
    expected = scores.probability * pool.n_tokens
    order = ordered(pool, reward, pool.topic.code)
    mass = expected[order]
    topic = pool.topic.code[order]
    total = np.bincount(topic, weights=mass, minlength=len(pool.topic.names))
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    # The middle of each document's stretch of the topic's expected tokens, in (0, 1) from the best to the worst.
    rank = (np.cumsum(mass) - 0.5 * mass - before[topic]) / np.maximum(total[topic], 1e-300)
    up = settings.doubled_share
    weight = np.ones(len(pool), np.float32)
    weight[order] = np.where(rank < up, HIGH, np.where(rank > 1.0 - 2.0 * up, LOW, 1.0))
    return Scores(scores.probability, weight, scores.reason)
