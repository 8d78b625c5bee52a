"""The evaluation of an iteration's checkpoint."""

from __future__ import annotations

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import VERSION, evaluation_parameters, write_evaluation
from curation_pipeline.stages.state import parent_of
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.loop.checkpoint import STEP as CHECKPOINT
from curation_pipeline.steps.reference.base_metrics import REFERENCES
from curation_pipeline.steps.reference.base_metrics import STEP as BASE_METRICS
from curation_pipeline.steps.step import Partitioning, Step, Work
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


def compute(work: Work, draft: Draft) -> None:
    """Safety, alignment, bias, capability and diversity of the checkpoint, with intervals.

    Sampled text is judged by the detector that did not make the reward.
    """
    base, before = map(work.lake.get, _earlier(work))
    write_evaluation(work.ctx, draft, work[CHECKPOINT], work.by_table(*REFERENCES), base, before)


def _earlier(work: Work) -> tuple[str, str]:
    """The evaluations of the base and of the model in force before."""
    return work.reference(BASE_METRICS).id, work.parent.metrics_id


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
    version=VERSION,
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(CHECKPOINT, *REFERENCES),
    reads=(BASE_METRICS,),
    also=lambda work: dict.fromkeys(_earlier(work)),
    parameters=lambda work: evaluation_parameters(work.profile),
    kinds=frozenset({"pytorch"}),
    view=view,
    checks=(JUDGE_IS_FAIR, JUDGE_AGREES),
)
