"""The evaluation of an iteration's checkpoint."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import CODE_VERSION, evaluate_checkpoint
from curation_pipeline.stages.state import parent_of
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.loop.checkpoint import STEP as CHECKPOINT
from curation_pipeline.steps.reference.benchmarks import STEP as BENCHMARKS
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.reference.heldout_texts import STEP as HELDOUT_TEXTS
from curation_pipeline.steps.reference.sentence_embedding import STEP as SENTENCE_EMBEDDING
from curation_pipeline.steps.step import Partitioning, Place, Step
from curation_pipeline.steps.view import Check, View

JUDGE_IS_FAIR = Check(
    "judge_false_positives",
    "the judge flags at most `annotate.judge_max_false_positives` of clean encyclopaedic text; otherwise its sampled "
    "metrics are not to be believed",
)
JUDGE_AGREES = Check(
    "judge_and_teacher_agree",
    "teacher and judge see the harmful outputs move the same way; where they diverge the policy is gaming its reward",
)


def run(ctx: Context, place: Place) -> Manifest:
    """Safety, alignment, bias, capability and diversity of the checkpoint, with intervals.

    Sampled text is judged by the detector that did not make the reward.
    """
    return evaluate_checkpoint(ctx, place.chain, place.ordinal)


def view(ctx: Context, manifest: Manifest) -> View:
    """All metrics."""
    figures = manifest.summary
    rate = figures["judge_false_positive_rate"]
    _, parent = parent_of(ctx.lake, manifest.partition["chain"], int(manifest.partition["iteration"]))
    before = ctx.lake.get(parent.metrics_id).summary
    moved = {name: figures[f"{name}_toxic_outputs"] - before[f"{name}_toxic_outputs"] for name in ("judge", "teacher")}
    return View(
        {"metrics": metrics_table(ctx.lake, manifest)},
        [
            JUDGE_IS_FAIR.answer(rate <= ctx.profile.annotate.judge_max_false_positives, false_positive_rate=rate),
            JUDGE_AGREES.answer(
                not (moved["teacher"] < 0 < moved["judge"]),
                **{f"change_by_{name}": round(value, 4) for name, value in moved.items()},
            ),
        ],
    )


STEP = Step(
    module=__name__,
    table="metrics",
    version=CODE_VERSION,
    run=run,
    partitioning=Partitioning.ITERATION,
    inputs=(CHECKPOINT, BENCHMARKS, HELDOUT_TEXTS, SENTENCE_EMBEDDING, DETECTORS, CASCADE),
    kinds=frozenset({"pytorch"}),
    view=view,
    checks=(JUDGE_IS_FAIR, JUDGE_AGREES),
)
