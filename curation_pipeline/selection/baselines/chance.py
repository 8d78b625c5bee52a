"""Draws by chance: the controls of every comparison."""

from __future__ import annotations

import numpy as np

from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import BY_CHANCE, scores, waterfill
from curation_pipeline.selection.inputs import Inputs


def random(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """Constant probability: the budget's share of the pool's tokens."""
    return scores(np.full(len(pool), min(budget_tokens / pool.total_tokens, 1.0)), BY_CHANCE)


def stratified(pool: Pool, budget_tokens: int, seed: int, settings: SharedSettings, inputs: Inputs) -> Scores:
    """min(1, c / tokens of the topic), with c such that the budget is met; small topics are exhausted."""
    tokens = pool.topic.shares(pool.n_tokens.astype(np.float64)) * pool.total_tokens
    return scores(np.minimum(waterfill(tokens, budget_tokens) / tokens, 1.0)[pool.topic.code], BY_CHANCE)


BASELINES = (
    Baseline("random", "every document with the same probability", random),
    Baseline("stratified", "an equal share of the budget for each topic, random within", stratified),
)
