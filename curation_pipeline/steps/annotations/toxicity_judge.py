"""Scores of the judge."""

from __future__ import annotations

from curation_pipeline.annotate import toxicity
from curation_pipeline.stages.detectors import judge_parameters, open_detector
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """Scores of the detector that judges the trained model.

    They are read by reports and checks only: no reward, no policy and no batch sees them.
    """
    judge = open_detector(work.ctx, work.profile.annotate.judge, work.by_table(DETECTORS, CASCADE))
    return lambda documents: toxicity.judge_scores(documents, judge, work.ctx.progress)


STEP = annotator(
    __name__,
    prepare,
    version=toxicity.VERSION,
    references=(DETECTORS, CASCADE),
    parameters=lambda ctx: judge_parameters(ctx.profile.annotate),
    kinds=frozenset({"pytorch", "parquet"}),
    histogram=("", "judge's score"),
)
