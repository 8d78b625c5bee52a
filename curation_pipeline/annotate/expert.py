"""Asking an expert about a small part of the pool: whom to ask about, and the answers of a judge or of people.

An expert (a hosted judge with written principles, or people with a spreadsheet) is dear, so it sees at most one in a
hundred documents, most of them where the teachers disagree. Every document can be drawn and its probability is known,
so what the expert says of the sample can be weighted back to the pool (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.hosted import Decline
from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.errors import ConfigError, DataError, DetectorError
from curation_pipeline.progress import Progress
from curation_pipeline.seeds import derive, generator, unit_hash

MAX_SHARE = 0.01
"""Share of the pool that an expert sees at most."""
EXPLORE = 0.2
"""Share of the sample that is spread evenly: it bounds the weight of a document at pool / (sample * EXPLORE)."""
ANSWERS = {
    "doc_id": pl.Utf8,
    "label": pl.Float32,
    "probability": pl.Float64,
    "labeller": pl.Utf8,
    "principle": pl.Utf8,
    "rationale": pl.Utf8,
}
"""Columns of an expert's answers."""

Calibration = Callable[[np.ndarray], np.ndarray]


@runtime_checkable
class ExplainingDetector(Detector, Protocol):
    """A detector that says why, through its cache."""

    def explain(
        self, texts: Sequence[str], progress: Progress | None = None, decline: Decline | None = None
    ) -> tuple[pl.DataFrame, list[str | None]]:
        """See ``CachedDetector.explain``."""


def disagreement(scores: pl.DataFrame, calibrations: Mapping[str, Calibration] | None = None) -> np.ndarray:
    """How far the teachers are apart on each document, in [0, 1].

    Twice the standard deviation over the teachers' probabilities of harm: 1 when half of them say 0 and half 1. With a
    single teacher, how unsure it is: ``4 p (1 - p)``. It depends on the document's own row alone.

    Args:
        scores: ``doc_id`` and one column in [0, 1] a teacher.
        calibrations: by teacher, from its score to a probability of harm; a teacher without one is taken at its word,
            and then teachers with different scales seem to disagree where they only differ in scale.

    Raises:
        DataError: no teacher, a score that is missing or outside [0, 1].
    """
    names = [name for name in scores.columns if name != "doc_id"]
    if not names:
        raise DataError("no teacher's column to choose documents for the expert by")
    given = calibrations or {}
    columns = []
    for name in names:
        raw = scores[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
        values = np.asarray(given[name](raw) if name in given else raw, dtype=np.float64)
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise DataError(f"scores of the teacher {name} are missing or not in [0, 1]; no expert can be chosen for")
        columns.append(values)
    p = np.stack(columns, axis=1)
    if len(names) == 1:
        return np.asarray(4.0 * p[:, 0] * (1.0 - p[:, 0]))
    # Rounded, so that summing teachers in another order changes no decision.
    return np.asarray(np.round(np.minimum(1.0, 2.0 * p.std(axis=1)), 9))


def inclusion_probabilities(sizes: np.ndarray, n: int) -> np.ndarray:
    """Probabilities proportional to size that sum to ``n``, none above 1: those that would be are taken for certain.

    Args:
        sizes: (N,) positive.
        n: at most N.
    """
    probabilities, certain = np.zeros(len(sizes)), np.zeros(len(sizes), dtype=bool)
    while n:
        rest = n - int(certain.sum())
        free = sizes[~certain]
        # fsum: the same total in whatever order the documents come
        probabilities[~certain] = rest * free / math.fsum(free.tolist()) if len(free) else 0.0
        over = ~certain & (probabilities >= 1.0)
        if not over.any():
            break
        certain |= over
        probabilities[certain] = 1.0
        if int(certain.sum()) >= n:
            break
    return probabilities


def choose_for_expert(
    scores: pl.DataFrame,
    max_share: float = MAX_SHARE,
    n: int | None = None,
    seed: int = 0,
    calibrations: Mapping[str, Calibration] | None = None,
    explore: float = EXPLORE,
) -> pl.DataFrame:
    """Documents for the expert, more of them where the teachers disagree, each with its probability of being drawn.

    Systematic sampling with probability proportional to size (Madow 1949) over the documents in the order of their
    hash: the sample has exactly the size asked for and every probability is known and positive. The order is that of
    the seeded hash of the ids, so the same pool gives the same sample however it is sorted or divided.

    Args:
        scores: the whole pool: ``doc_id`` (32 hexadecimal digits, none twice) and one column in [0, 1] a teacher.
        max_share: of the pool that is chosen at most, in (0, 1].
        n: documents wanted; as many as the share allows if absent.
        seed: another seed draws another sample.
        calibrations: see ``disagreement``.
        explore: share of the sample that ignores disagreement, in (0, 1].

    Returns:
        ``doc_id`` and ``probability`` (Float64, in (0, 1]), sorted by id; empty where the share of the pool is less
        than one document.

    Raises:
        ConfigError: a share is out of range.
        DataError: a document stands twice, or scores are missing.
    """
    if not 0.0 < max_share <= 1.0 or not 0.0 < explore <= 1.0 or (n is not None and n < 0):
        raise ConfigError(
            f"max_share ({max_share}) and explore ({explore}) must be in (0, 1], and n ({n}) not negative"
        )
    if scores["doc_id"].n_unique() != scores.height:
        raise DataError("a document stands twice among those to choose for the expert from")
    wanted = math.floor(max_share * scores.height + 1e-9)
    wanted = wanted if n is None else min(n, wanted)
    spread = disagreement(scores, calibrations)
    if wanted == 0:
        return pl.DataFrame(schema={"doc_id": pl.Utf8, "probability": pl.Float64})
    mean = math.fsum(spread.tolist()) / len(spread)
    sizes = np.full(len(spread), explore) + ((1.0 - explore) * spread / mean if mean > 0.0 else 1.0 - explore)
    probabilities = inclusion_probabilities(sizes, wanted)
    ids = scores["doc_id"].to_numpy()
    order = np.lexsort((ids, unit_hash(scores["doc_id"], derive(seed, "expert order"))))
    start = float(generator(seed, "expert start").uniform())
    # A document is drawn when the running total passes start, start + 1, ...
    edges = np.cumsum(probabilities[order])
    edges[-1] = wanted
    hits = np.ceil(edges - start).clip(min=0.0)
    drawn = order[np.diff(hits, prepend=0.0) >= 1.0]
    return pl.DataFrame({"doc_id": ids[drawn].tolist(), "probability": probabilities[drawn]}).sort("doc_id")


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
