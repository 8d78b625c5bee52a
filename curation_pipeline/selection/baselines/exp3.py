"""EXP3 over strata (Auer, Cesa-Bianchi, Freund and Schapire 2002), as online data mixing uses it (arXiv:2312.02406).

Each round draws a stratum, takes a handful of its documents at random, and sees one number in [0, 1]: what those
documents were worth. That is their mean reward alpha R_s + beta R_a, scaled so that the pool's 5% and 95% quantiles are
0 and 1; where a downstream credit is given, the credit of the stratum at the batch's composition so far joins it with
weight eta. Nothing is known of a stratum that was not drawn. Rewards may change as the batch fills, for which EXP3's
bound is made. Weights start, and exploration stays, at the pool's shares: a bandit that learns nothing draws the pool.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.reward.credit import CLIP
from curation_pipeline.seeds import generator
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import chosen, ordered, shuffled, static_reward
from curation_pipeline.selection.inputs import Inputs

_PRIOR = 0.05
"""Pseudo-tokens at the pool's composition, as a share of the budget, behind the composition that credit is asked at."""


class BanditSettings(SharedSettings):
    """Of the EXP3 bandit."""

    bandit_rounds: int = Field(
        default=4000, ge=1, le=1_000_000, description="Rounds in which the EXP3 bandit spends the budget."
    )
    bandit_exploration: float | None = Field(
        default=None, gt=0, le=1, description="gamma of EXP3; None takes the value of its regret bound."
    )


def exp3(pool: Pool, budget_tokens: int, seed: int, settings: BanditSettings, inputs: Inputs) -> Scores:
    """1 for what the rounds of the bandit took; its arms are the policy's strata."""
    code, k = pool.stratum.code, len(pool.stratum.names)
    order = ordered(pool, shuffled(pool, seed, "exp3"), code)
    ends = np.cumsum(np.bincount(code, minlength=k))
    taken = np.concatenate([[0], ends[:-1]])
    tokens = pool.n_tokens[order]
    spent_before = np.concatenate([[0], np.cumsum(tokens)])
    reward = static_reward(pool, settings)
    low, high = np.quantile(reward, [0.05, 0.95])
    scaled = np.clip((reward - low) / max(high - low, 1e-9), 0.0, 1.0)
    worth_before = np.concatenate([[0.0], np.cumsum(scaled[order] * tokens)])
    target = max(budget_tokens // settings.bandit_rounds, 1)
    feedback = _Feedback(pool, settings, inputs, budget_tokens)
    rng = generator(seed, "exp3", "arms")
    prior = pool.stratum.shares(pool.n_tokens.astype(np.float64))
    log_weight = np.log(prior)
    gamma = _exploration(k, settings)
    picked: list[np.ndarray] = []
    left = budget_tokens
    while left > 0 and (open_ := np.flatnonzero(taken < ends)).size:
        share = np.exp(log_weight[open_] - log_weight[open_].max())
        probability = (1.0 - gamma) * share / share.sum() + gamma * prior[open_] / prior[open_].sum()
        place = min(int(np.searchsorted(np.cumsum(probability), rng.random())), len(open_) - 1)
        arm = int(open_[place])
        first = int(taken[arm])
        # At least one document, and as many as reach the round's tokens.
        stop = int(np.searchsorted(spent_before, spent_before[first] + target, side="left"))
        last = min(max(stop, first + 1), int(ends[arm]))
        spent = int(spent_before[last] - spent_before[first])
        if spent > left:
            break
        taken[arm] = last
        left -= spent
        picked.append(order[first:last])
        worth = feedback.of(arm, (worth_before[last] - worth_before[first]) / spent, spent)
        log_weight[arm] += gamma * worth / float(probability[place]) / len(open_)
    rows = np.concatenate(picked) if picked else np.empty(0, np.int64)
    return chosen(len(pool), rows, "the bandit turned to other strata, or by chance")


def _exploration(k: int, settings: BanditSettings) -> float:
    """The gamma that minimises the regret bound of the paper's corollary 3.2, with rewards of at most 1 a round."""
    if settings.bandit_exploration is not None:
        return settings.bandit_exploration
    if k < 2:
        return 1.0
    return min(1.0, float(np.sqrt(k * np.log(k) / ((np.e - 1.0) * settings.bandit_rounds))))


class _Feedback:
    """The number in [0, 1] that a round brings, and the composition that it is asked at."""

    def __init__(self, pool: Pool, settings: BanditSettings, inputs: Inputs, budget_tokens: int) -> None:
        known = inputs.credit is not None and inputs.credit.r2 > 0
        self.credit = inputs.credit.indexed(pool.stratum.names) if known and inputs.credit is not None else None
        scale = settings.safety_weight + settings.alignment_weight
        self.part = settings.credit_weight / max(scale + settings.credit_weight, 1e-12)
        share: F64 = pool.stratum.shares(pool.n_tokens.astype(np.float64))
        self.composition = _PRIOR * budget_tokens * share

    def of(self, arm: int, mean_reward: float, tokens: int) -> float:
        """What a round was worth; its tokens join the composition afterwards."""
        value = mean_reward
        if self.credit is not None:
            credit = float(self.credit.at(self.composition)[arm])
            value = (1.0 - self.part) * mean_reward + self.part * 0.5 * (1.0 + credit / CLIP)
        self.composition[arm] += tokens
        return float(np.clip(value, 0.0, 1.0))


BASELINES = (Baseline("exp3", "an adversarial bandit over strata (Auer et al. 2002)", exp3, settings=BanditSettings),)
