"""The policy that selects."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scoring import with_budget
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.objective import composition_of, objective_of
from curation_pipeline.stages.policy_report import policy_section, write_policy_report
from curation_pipeline.stages.pool_sample import pool_sample
from curation_pipeline.steps import policy_plots
from curation_pipeline.steps.figures import input_links
from curation_pipeline.steps.loop.candidate_pool import STEP as CANDIDATE_POOL
from curation_pipeline.steps.loop.probes import STEP as PROBES
from curation_pipeline.steps.step import Partitioning, Step, Work
from curation_pipeline.steps.view import Markdown, Png, View


def compute(work: Work, draft: Draft) -> None:
    """The PPO policy that decides which documents to draw and how much they weigh.

    It is trained on a sample of the pool against the composite reward and the downstream credit, warm-started from the
    parent iteration's, and compared with the closed form of the same objective.
    """
    from curation_pipeline.policy.ppo import train_policy

    lake, parent = work.lake, work.parent
    sample = pool_sample(lake.path(work[CANDIDATE_POOL], "data.parquet"))
    pool = Pool.from_frame(sample.frame)
    reward = RewardModel.load(lake.folder(lake.get(parent.reward_model_id)))
    credit = DownstreamCredit.from_json(lake.json(work[PROBES], "credit"))
    objective = objective_of(work.ctx, parent, reward, credit)
    objective = with_budget(objective, sample.budget(objective.budget_tokens))
    warm = None if parent.policy_id is None else lake.folder(lake.get(parent.policy_id))
    seed = derive(work.profile.seed, "policy", work.place.chain, work.place.ordinal)
    summary = train_policy(
        pool, objective, work.profile.policy, seed, warm, draft.folder, work.ctx.progress, draft.scratch
    )
    draft.frame(summary.frame(), "learning_curve")
    draft.summary.update(write_policy_report(draft, pool, objective, summary, parent.policy_id, warm, seed))
    draft.summary.update(
        candidates=summary.candidates,
        candidates_per_second=round(summary.candidates / max(summary.seconds, 1e-9)),
        budget_use=round(summary.budget_use, 4),
        mean_harm=round(summary.mean_harm, 4),
        price=round(summary.price, 4),
        kl_to_parent=None if summary.kl_to_parent is None else round(summary.kl_to_parent, 5),
        credit_r2=round(credit.r2, 4),
        alpha=round(objective.alpha, 4),
        beta=round(objective.beta, 4),
        gamma=round(objective.gamma, 4),
        warm_started_from=parent.policy_id or "nothing: the first iteration",
    )


def view(ctx: Context, manifest: Manifest) -> View:
    """The policy and its closed form: plots and card."""
    section = policy_section(ctx.lake, manifest)
    if section is None:
        return View()
    return View(
        {
            "against_the_closed_form": Markdown(section.summary["against_the_closed_form"]),
            "inputs": input_links(ctx.lake, manifest),
            **{name: Png(png) for name, png in policy_plots.policy_pictures(section).items()},
            "card": Markdown(section.card),
        }
    )


def _in_force(work: Work) -> list[str]:
    """The reward, and the policy that the training starts from."""
    policy = [] if work.parent.policy_id is None else [work.parent.policy_id]
    return [work.parent.reward_model_id, *policy]


def _parameters(work: Work) -> dict[str, Any]:
    return {
        "policy": work.profile.policy.model_dump(mode="json"),
        "token_budget": work.profile.loop.token_budget,
        "last": asdict(work.parent.credit_metrics),
        **composition_of(work.ctx),
    }


STEP = Step(
    module=__name__,
    table="policies",
    version="6",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(CANDIDATE_POOL, PROBES),
    also=_in_force,
    parameters=_parameters,
    kinds=frozenset({"pytorch"}),
    view=view,
    resumes=True,
)
