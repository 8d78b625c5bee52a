"""The reward model after an evaluation."""

from __future__ import annotations

import polars as pl

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.audit import audit_batch
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import models_in_force, open_expert
from curation_pipeline.stages.divergence import divergence_history, gap_trend, judge_and_teacher
from curation_pipeline.stages.refinement import CODE_VERSION, read_moves, refine_reward
from curation_pipeline.steps.loop.curated_batch import STEP as CURATED_BATCH
from curation_pipeline.steps.loop.evaluation import STEP as EVALUATION
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.reference.heldout_texts import STEP as HELDOUT_TEXTS
from curation_pipeline.steps.reference.initial_reward import STEP as INITIAL_REWARD
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import Check, Table, View

GAP_IS_STABLE = Check(
    "judge_and_teacher_stay_together",
    "the gap between the flag rates of judge and teacher has not widened since the first iteration by more than the "
    "profile allows",
)


def run(ctx: Context, place: Place) -> Manifest:
    """The reward model for the next iteration, each of its moves with a reason.

    What the evaluation and the batch showed moves the multipliers of the constraints, and with them alpha, beta and
    gamma, at most 20% a step; the audit batch corrects P(harm). Labels or principles that changed come in here.
    """
    manifest = refine_reward(ctx, place.chain, place.ordinal, open_expert(ctx, models_in_force(ctx)))
    judge_and_teacher(ctx, place.chain, place.ordinal)
    return manifest


def view(ctx: Context, manifest: Manifest) -> View:
    """What moved and why, and how far judge and teacher are apart."""
    chain, ordinal = manifest.partition["chain"], int(manifest.partition["iteration"])
    distance = divergence_history(ctx.lake, chain, ordinal)
    limit = ctx.profile.reward.divergence.max_widening
    trend = gap_trend(distance)
    moves = [(m.name, f"{m.before:.3f}", f"{m.after:.3f}", m.reason) for m in read_moves(ctx.lake, manifest)]
    shown = distance.filter(pl.col("ordinal") == ordinal).select("what", "measure", "value", "ci_low", "ci_high", "n")
    return View(
        {
            "what_moved": Table(["what", "from", "to", "reason"], moves),
            "divergence": Table(shown.columns, shown.with_columns(pl.col(pl.Float64).round(4)).rows()),
            "audit_batch": ctx.lake.folder(audit_batch(ctx, chain, ordinal)),
        },
        [
            GAP_IS_STABLE.answer(
                trend is None or not trend.widened(limit),
                limit=limit,
                **({} if trend is None else {"widening": trend.widening}),
            )
        ],
    )


STEP = Step(
    module=__name__,
    table="reward_models",
    version=CODE_VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    inputs=(CURATED_BATCH, EVALUATION, INITIAL_REWARD, HELDOUT_TEXTS, BASE_CHECKPOINT),
    kinds=frozenset({"scikitlearn"}),
    view=view,
    checks=(GAP_IS_STABLE,),
)
