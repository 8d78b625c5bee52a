"""The evaluation of the uncurated base."""

from __future__ import annotations

from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.evaluation import VERSION, evaluation_parameters, write_evaluation
from curation_pipeline.steps.figures import metrics_table
from curation_pipeline.steps.reference.base_checkpoint import STEP as BASE_CHECKPOINT
from curation_pipeline.steps.reference.benchmarks import STEP as BENCHMARKS
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.reference.heldout_texts import STEP as HELDOUT_TEXTS
from curation_pipeline.steps.reference.sentence_embedding import STEP as SENTENCE_EMBEDDING
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import View

REFERENCES = (BENCHMARKS, HELDOUT_TEXTS, SENTENCE_EMBEDDING, DETECTORS, CASCADE)
"""What an evaluation reads besides the model."""


def compute(work: Work, draft: Draft) -> None:
    """Safety, alignment, bias and capability of the uncurated base.

    Its bits per byte are the reference of capability for every chain.
    """
    write_evaluation(work.ctx, draft, work[BASE_CHECKPOINT], work.by_table(*REFERENCES), None, None)


def view(ctx: Context, manifest: Manifest) -> View:
    """All metrics."""
    return View({"metrics": metrics_table(ctx.lake, manifest)})


STEP = Step(
    module=__name__,
    table="base_metrics",
    version=VERSION,
    compute=compute,
    inputs=(BASE_CHECKPOINT, *REFERENCES),
    parameters=lambda work: evaluation_parameters(work.profile),
    kinds=frozenset({"pytorch"}),
    view=view,
)
