"""Markers of dialect."""

from __future__ import annotations

from curation_pipeline.annotate import dialect
from curation_pipeline.steps.annotator import Annotate, annotator, sections
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """Markers of varieties of English that detectors call harmful too often.

    A proxy for how a text is written, never for who wrote it: it protects such text as a group, and never removes any.
    """
    settings = work.profile.annotate.dialect
    return lambda documents: documents.select("doc_id").with_columns(dialect.dialect(documents["text"], settings))


STEP = annotator(
    __name__,
    prepare,
    version=dialect.VERSION,
    parameters=sections("dialect"),
    kinds=frozenset({"polars", "parquet"}),
    histogram=("aae_score", "weight of markers"),
)
