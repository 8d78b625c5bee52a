"""The mandatory control: the best response to the same learned reward, without any learning.

With gamma = 0 and the market's price, the best weight of a document at a state is an argmax over a handful of values,
so PPO has to be compared with exactly that (it tied in the pilot). The argmax is softened by a small temperature, so
that inclusion probabilities strictly between 0 and 1 are defined and the budget is met by the same logit shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.artefact import ScoringPolicy
from curation_pipeline.policy.candidates import EVERY
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.problem import ConstraintDuals, Marginal, SelectionProblem
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import DecisionRule, scores_by, with_budget
from curation_pipeline.policy.selection_state import SelectionState
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.seeds import derive

_UNTRAINED_ROUNDS = 60
"""Rounds without a trained policy, in which the duals are found as well."""


def closed_form_scores(
    pool: Pool,
    objective: Objective,
    settings: PolicySettings,
    budget_tokens: int,
    seed: int,
    policy: ScoringPolicy | None = None,
) -> Scores:
    """Scores of the best response under a budget; other arguments are those of ``closed_form_rule``.

    Args:
        pool: the candidates.
        objective: the same reward that a policy is trained on; its own budget is not looked at.
        settings: of the decision process.
        budget_tokens: tokens of drawn documents.
        seed: of the random features when there is no policy.
        policy: whose constants and duals to use.
    """
    return scores_by(closed_form_rule(pool, settings, seed, policy), pool, with_budget(objective, budget_tokens))


def closed_form_rule(
    pool: Pool, settings: PolicySettings, seed: int, policy: ScoringPolicy | None = None
) -> DecisionRule:
    """How the control decides.

    Args:
        pool: the candidates.
        settings: of the decision process.
        seed: of the random features when there is no policy.
        policy: with it the control uses the policy's constants and duals, so that only the decision differs; without
            it the duals are found by dual ascent between the mean-field rounds.
    """
    decide = BestResponse(settings.closed_form_temperature)
    if policy is not None:
        return DecisionRule(decide, policy.normaliser, settings, policy.duals)
    normaliser = Normaliser.fit(pool, settings.random_features, settings.novelty_bandwidth, derive(seed, "normaliser"))
    return DecisionRule(decide, normaliser, settings, ConstraintDuals(), adapt_duals=2.0, rounds=_UNTRAINED_ROUNDS)


@dataclass(frozen=True, slots=True)
class BestResponse:
    """The softened argmax over the rewards of the weights.

    Attributes:
        temperature: in units of reward.
    """

    temperature: float

    def __call__(
        self, problem: SelectionProblem, state: SelectionState, marginal: Marginal, price: float, duals: ConstraintDuals
    ) -> F64:
        """Rewards (n, actions) over the temperature, per token: a long document is not decided more sharply."""
        rewards = problem.action_rewards(EVERY, marginal, price)
        return np.asarray(rewards / problem.candidates.length[:, None] / self.temperature)
