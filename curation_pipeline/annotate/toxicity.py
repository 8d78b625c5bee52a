"""Scores of the teachers and of the judge as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.detectors.registry import built_in, find_detector
from curation_pipeline.annotate.obfuscation import obfuscation_share
from curation_pipeline.errors import DataError
from curation_pipeline.progress import Progress

VERSION = 3
OBFUSCATION = "obfuscation"
HARM_THRESHOLD = 0.5
"""P(harm), or a detector's score, from which a text counts as harmful."""


def built_in_axes() -> dict[str, str]:
    """The detectors of this package whose score does not say how toxic the wording is, and what it says instead."""
    return {name: spec.axis for name, spec in built_in().items() if spec.axis != "toxicity"}


def axis_of_detector(name: str) -> str:
    """``toxicity``, ``bias`` or ``subtle``: detectors of toxicity are at chance on stereotypes, and those on these."""
    return find_detector(name).axis


def toxicity_columns(teachers: Iterable[str]) -> list[str]:
    """The teachers whose score says how toxic the wording is; all of them where none does."""
    names = list(teachers)
    return [name for name in names if axis_of_detector(name) == "toxicity"] or names


def teacher_scores(
    documents: pl.DataFrame, teachers: Sequence[Detector], progress: Progress | None = None
) -> pl.DataFrame:
    """Every head of every teacher, and how much of a text's wording is disguised.

    Args:
        documents: columns ``doc_id`` and ``text``.
        teachers: detectors with distinct names.
        progress: told how far it is.

    Returns:
        ``doc_id``; for each teacher a Float32 column in [0, 1] named after it, its headline, and ``<teacher>_<head>``
        for each further head; ``obfuscation``. One row a document, in order.

    Raises:
        DataError: when two teachers have the same name.
    """
    names = [teacher.name for teacher in teachers]
    if len(set(names)) != len(names):
        raise DataError(f"two teachers have the same name: {', '.join(names)}")
    texts = documents["text"].to_list()
    columns: list[pl.Series] = []
    for teacher in teachers:
        scores = teacher.score(texts, progress)
        columns.append(scores[teacher.heads[0]].alias(teacher.name))
        further = [head.removeprefix(f"{teacher.name}_") for head in teacher.heads[1:]]
        columns += [
            scores[head].alias(f"{teacher.name}_{name}") for head, name in zip(teacher.heads[1:], further, strict=True)
        ]
    columns.append(obfuscation_share(documents["text"]).cast(pl.Float32).round(4).alias(OBFUSCATION))
    return documents.select("doc_id").with_columns(columns)


def judge_scores(documents: pl.DataFrame, judge: Detector, progress: Progress | None = None) -> pl.DataFrame:
    """All heads of the judge: ``doc_id`` and one Float32 column a head; one row a document, in order."""
    scores = judge.score(documents["text"].to_list(), progress)
    return documents.select("doc_id").with_columns(scores.get_columns())
