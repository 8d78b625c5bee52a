"""Scores of the teachers and of the judge as annotations (``toxicity_teacher@1``, ``toxicity_judge@1``)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.errors import DataError
from curation_pipeline.progress import Progress

VERSION = 1


def teacher_scores(
    documents: pl.DataFrame, teachers: Sequence[Detector], progress: Progress | None = None
) -> pl.DataFrame:
    """The headline of every teacher.

    Args:
        documents: columns ``doc_id`` and ``text``.
        teachers: detectors with distinct names.
        progress: told how far it is.

    Returns:
        ``doc_id`` and one Float32 column in [0, 1] a teacher, named after it; one row a document, in order.

    Raises:
        DataError: when two teachers have the same name.
    """
    names = [teacher.name for teacher in teachers]
    if len(set(names)) != len(names):
        raise DataError(f"two teachers have the same name: {', '.join(names)}")
    texts = documents["text"].to_list()
    columns = [teacher.score(texts, progress)[teacher.heads[0]].alias(teacher.name) for teacher in teachers]
    return documents.select("doc_id").with_columns(columns)


def judge_scores(documents: pl.DataFrame, judge: Detector, progress: Progress | None = None) -> pl.DataFrame:
    """All heads of the judge: ``doc_id`` and one Float32 column a head; one row a document, in order."""
    scores = judge.score(documents["text"].to_list(), progress)
    return documents.select("doc_id").with_columns(scores.get_columns())


def teacher_columns(frame: pl.DataFrame) -> tuple[str, ...]:
    """Names of the teachers in an annotation frame of ``teacher_scores``."""
    return tuple(name for name, dtype in frame.schema.items() if name != "doc_id" and dtype == pl.Float32)
