"""Overlap with benchmarks."""

from __future__ import annotations

from curation_pipeline.annotate import contamination
from curation_pipeline.evaluation.items import overlap_texts
from curation_pipeline.stages.benchmarks import read_benchmarks
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.reference.benchmarks import STEP as BENCHMARKS
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """Runs of 13 words that a document shares with a benchmark that the evaluation uses."""
    index = contamination.benchmark_index(overlap_texts(read_benchmarks(work.lake, work[BENCHMARKS])))
    return lambda documents: contamination.contamination(documents, index)


STEP = annotator(__name__, prepare, version=contamination.VERSION, references=(BENCHMARKS,))
