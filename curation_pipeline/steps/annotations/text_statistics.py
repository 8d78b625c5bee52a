"""Figures of each text."""

from __future__ import annotations

from curation_pipeline.annotate import statistics
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """Length, vocabulary, punctuation, compression, a quality heuristic, and the identity group that is mentioned."""
    return statistics.text_statistics


STEP = annotator(
    __name__,
    prepare,
    version=statistics.VERSION,
    kinds=frozenset({"polars", "parquet"}),
    histogram=("quality", "quality heuristic"),
)
