"""Scores of the teachers."""

from __future__ import annotations

from curation_pipeline.annotate import toxicity
from curation_pipeline.stages.detectors import open_teachers, teacher_parameters
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """Scores of the detectors that make the reward, each in [0, 1], and the share of words in disguise.

    Long texts are scored in windows: the maximum and the mean are kept.
    """
    teachers = open_teachers(work.ctx, work.by_table(DETECTORS, CASCADE))
    return lambda documents: toxicity.teacher_scores(documents, teachers, work.ctx.progress)


STEP = annotator(
    __name__,
    prepare,
    version=toxicity.VERSION,
    references=(DETECTORS, CASCADE),
    parameters=lambda ctx: teacher_parameters(ctx.profile.annotate),
    histogram=("", "teacher's score"),
)
