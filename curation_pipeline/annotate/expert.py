"""Asking a hosted judge with written principles about a few documents; `reward.audit_design` draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import polars as pl

from curation_pipeline.annotate.detectors.hosted import Decline
from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.errors import DetectorError
from curation_pipeline.progress import Progress

ANSWERS = {
    "doc_id": pl.Utf8,
    "label": pl.Float32,
    "probability": pl.Float64,
    "labeller": pl.Utf8,
    "principle": pl.Utf8,
    "rationale": pl.Utf8,
}
"""Columns of an expert's answers."""


@runtime_checkable
class ExplainingDetector(Detector, Protocol):
    """A detector that says why, through its cache."""

    def explain(
        self, texts: Sequence[str], progress: Progress | None = None, decline: Decline | None = None
    ) -> tuple[pl.DataFrame, list[str | None]]:
        """Scores, and for each text a note (JSON: principle, rationale) or None."""


def ask_expert(
    detector: Detector,
    documents: pl.DataFrame,
    max_declined: float = 0.0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """What a judge says of documents; resumable when the judge is a ``CachedDetector``.

    Args:
        detector: its headline is the label; one that explains gives principle and rationale, too.
        documents: ``doc_id``, ``text`` and, if they were drawn, ``probability``.
        max_declined: share of the documents that the service may decline to judge. They are left out of the answer, for
            no label is made up for them; who weights back to the pool should know that they are the worst ones.
        progress: told how far it is.

    Returns:
        Columns of ``ANSWERS``, a row a judged document, in order; ``probability`` is null where it was not given.

    Raises:
        DetectorError: the judge failed, or declined more than allowed.
    """
    texts, declined = documents["text"].to_list(), dict[int, str]()

    def decline(row: int, why: str) -> None:
        declined[row] = why
        if len(declined) > max_declined * len(texts):
            raise DetectorError(
                f"the expert declined {len(declined)} of {len(texts)} documents, more than max_declined "
                f"({max_declined:g}) allows; the last: {why}"
            )

    if isinstance(detector, ExplainingDetector):
        frame, notes = detector.explain(texts, progress, decline if max_declined > 0.0 else None)
    else:
        frame, notes = detector.score(texts, progress), [None] * len(texts)
    read = [_note(note) for note in notes]
    given = documents["probability"] if "probability" in documents.columns else pl.Series([None] * len(texts))
    answers = pl.DataFrame(
        {
            "doc_id": documents["doc_id"],
            "label": frame[detector.heads[0]],
            "probability": given.cast(pl.Float64),
            "labeller": pl.Series([f"{detector.name} {detector.version}"] * len(texts), dtype=pl.Utf8),
            "principle": pl.Series([note.get("principle") for note in read], dtype=pl.Utf8),
            "rationale": pl.Series([note.get("rationale") for note in read], dtype=pl.Utf8),
        },
        schema=ANSWERS,
    )
    return answers.filter(pl.col("label").is_not_null())


def _note(note: str | None) -> dict[str, str | None]:
    return dict(json.loads(note)) if note else {}
