"""A detector that asks its score cache first, so that nothing is scored twice and a failure costs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.hosted import Decline, Notes, Store
from curation_pipeline.annotate.detectors.protocol import Detector, score_frame
from curation_pipeline.annotate.score_cache import ScoreCache, text_key
from curation_pipeline.errors import DetectorError
from curation_pipeline.progress import Progress, silent

CHUNK = 1024
"""Texts scored before their scores are committed, where the detector does not hand them over itself."""


@runtime_checkable
class StreamingDetector(Detector, Protocol):
    """A detector that hands over scores as they arrive, such as a hosted one."""

    def score_each(
        self, texts: Sequence[str], store: Store, progress: Progress | None = None, decline: Decline | None = None
    ) -> None:
        """Score texts and hand each over as soon as it is known."""


class CachedDetector:
    """A detector that scores only what its cache does not hold; a text that occurs twice is scored once.

    That is sound because a row of a detector depends on its own text alone (see ``Detector``).

    Args:
        detector: asked for what is not known.
        cache: of this detector.
        chunk: texts scored before a commit: what a failure in the middle costs at most.
    """

    def __init__(self, detector: Detector, cache: ScoreCache, chunk: int = CHUNK) -> None:
        self.detector, self.cache, self.chunk = detector, cache, chunk
        self.name, self.version, self.heads = detector.name, detector.version, detector.heads

    def __repr__(self) -> str:
        return f"CachedDetector({self.detector!r}, {self.cache!r})"

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """Scores in [0, 1], a row a text.

        Raises:
            DetectorError: a text could not be scored; what was scored before is kept.
        """
        return self.explain(texts, progress)[0]

    def explain(
        self, texts: Sequence[str], progress: Progress | None = None, decline: Decline | None = None
    ) -> tuple[pl.DataFrame, list[str | None]]:
        """Scores as of ``score``, and a judge's note (JSON) or None for each text.

        Args:
            texts: any texts.
            progress: told how far it is.
            decline: called with the position of a text that the service would not judge; its row is null. Without it
                such a text is an error. Only a streaming detector declines.
        """
        place: dict[bytes, int] = {}
        owner = [place.setdefault(text_key(text), len(place)) for text in texts]
        table = _ScoreRows(
            list(place), np.full((len(place), len(self.heads)), np.nan, dtype=np.float32), [None] * len(place)
        )
        found, values, notes = self.cache.get(table.keys)
        table.fill([place[key] for key in found], values, notes)
        missing = np.flatnonzero(np.isnan(table.values[:, 0])).tolist() if len(found) < len(place) else []
        if missing:
            first: dict[int, int] = {}
            for position, i in enumerate(owner):
                first.setdefault(i, position)
            self._score_missing(
                [texts[first[i]] for i in missing], missing, table, progress, _moved(decline, missing, first)
            )
        frame = pl.DataFrame(table.values[owner], schema=dict.fromkeys(self.heads, pl.Float32), nan_to_null=True)
        return frame, [table.notes[i] for i in owner]

    def _score_missing(
        self, texts: list[str], rows: list[int], table: _ScoreRows, progress: Progress | None, decline: Decline | None
    ) -> None:
        report, n_done = progress or silent, 0

        def store(which: Sequence[int], scores: np.ndarray, notes: Notes) -> None:
            nonlocal n_done
            values = score_frame(scores, self.heads).to_numpy()
            into = [rows[i] for i in which]
            self.cache.put([table.keys[i] for i in into], values, notes)
            table.fill(into, values, notes)
            n_done += len(into)

        try:
            if isinstance(self.detector, StreamingDetector):
                self.detector.score_each(texts, store, progress, decline)
                return
            for start in range(0, len(texts), self.chunk):
                part = texts[start : start + self.chunk]
                scores = self.detector.score(part).select(self.heads).to_numpy()
                store(range(start, start + len(part)), scores, [None] * len(part))
                report(f"scoring with {self.name}", n_done / len(texts))
        except DetectorError as error:
            raise DetectorError(
                f"{error}; {n_done} of {len(texts)} new texts are kept in {self.cache.path}, so run again to continue"
            ) from error


@dataclass(frozen=True, slots=True)
class _ScoreRows:
    """Distinct texts of a call: their keys, their scores (not a number where not known) and notes."""

    keys: list[bytes]
    values: np.ndarray
    notes: list[str | None]

    def fill(self, rows: Sequence[int], values: np.ndarray, notes: Notes) -> None:
        """Enter what has become known."""
        if rows:
            self.values[rows] = values
        for i, note in zip(rows, notes, strict=True):
            if note is not None:
                self.notes[i] = note


def _moved(decline: Decline | None, missing: list[int], first: dict[int, int]) -> Decline | None:
    """The caller's function with positions among all texts of the call."""
    return None if decline is None else lambda i, why: decline(first[missing[i]], why)
