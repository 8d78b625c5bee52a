"""What a selector is asked to maximise in an iteration."""

from __future__ import annotations

from curation_pipeline.policy.objective import Objective
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import State


def objective_of(ctx: Context, parent: State, reward: RewardModel, credit: DownstreamCredit | None) -> Objective:
    """What the policy is asked to maximise, given the reward model and how the last model performed."""
    weights = reward.weights
    return Objective(
        alpha=weights.alpha,
        beta=weights.beta,
        gamma=weights.gamma,
        eta=weights.eta,
        credit=credit,
        budget_tokens=ctx.profile.loop.token_budget,
        targets={str(axis): shares for axis, shares in ctx.profile.reward.targets.items()},
        essential={str(axis): shares for axis, shares in ctx.profile.reward.essential.items()},
        last_safety=parent.credit_metrics.safety,
        last_capability=parent.credit_metrics.capability,
        curriculum_stage=0.0 if parent.curriculum is None else parent.curriculum.progress,
    )


def composition_of(ctx: Context) -> dict[str, object]:
    """The profile's targets and least shares of the batch, where it has any."""
    reward = ctx.profile.reward
    found = {"targets": reward.targets, "essential": reward.essential}
    return {name: shares for name, shares in found.items() if shares}
