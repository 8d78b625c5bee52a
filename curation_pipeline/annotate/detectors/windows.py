"""Long documents in overlapping windows of words, for any detector.

A detector that was trained on comments dilutes one harmful sentence in a long document, and one with a length limit
does not see it. So a long document is cut into windows: harm anywhere counts (the maximum over windows), and the mean
of the headline over windows says how much of the document is harmful. Models that count in tokens are cut by tokens
instead, see ``token_windows``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector, score_frame
from curation_pipeline.errors import ConfigError
from curation_pipeline.progress import Progress, silent

WORDS = 200
OVERLAP = 50
CHUNK_CHARACTERS = 4_000_000
"""Windows are scored whenever so much text of them is waiting, so memory does not grow with the corpus."""
LONGEST_WORD = 64
"""A run of more characters counts as several words: a megabyte without a space must be cut too."""
_WORD = re.compile(rf"\S{{1,{LONGEST_WORD}}}")


@dataclass(frozen=True, slots=True)
class WindowedDetector:
    """A detector whose long texts are scored in windows; a text of at most ``words`` words is scored as it is.

    Attributes:
        detector: scores texts and windows alike.
        words: words of a window, separated by white space.
        overlap: words that neighbouring windows share; smaller than ``words``.
    """

    detector: Detector
    words: int = WORDS
    overlap: int = OVERLAP

    def __post_init__(self) -> None:
        """Refuse windows that do not advance, and a detector that knows means already.

        Raises:
            ConfigError: when overlap and words do not fit, or the mean's name is taken.
        """
        if not 0 <= self.overlap < self.words:
            raise ConfigError(
                f"windows of {self.words} words cannot share {self.overlap}; the overlap must be at least 0 and smaller"
            )
        if mean_name(self.detector.heads) in self.detector.heads:
            raise ConfigError(f"{self.detector.name} scores long texts in windows itself; do not window it again")

    @property
    def name(self) -> str:
        """The inner detector's name."""
        return self.detector.name

    @property
    def version(self) -> str:
        """The inner detector's version and the windows'."""
        return f"{self.detector.version} windows {self.words}/{self.overlap}"

    @property
    def heads(self) -> tuple[str, ...]:
        """The inner detector's heads, each a maximum over windows, and the headline's mean."""
        return (*self.detector.heads, mean_name(self.detector.heads))

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """Maximum over the windows of each text, and the headline's mean, a row each."""
        report = progress or silent
        pool = WindowPool(len(texts), len(self.detector.heads))
        done = 0
        for owners, waiting in self._windows(texts):
            # Windows of like length together.
            order = np.argsort([len(window) for window in waiting], kind="stable")
            pool.add(owners[order], self.detector.score([waiting[i] for i in order]).to_numpy())
            done += len(waiting)
            report(f"scoring with {self.name}", min(1.0, done / len(texts)))
        report(f"scoring with {self.name}", 1.0)
        return score_frame(np.column_stack([pool.highest, pool.mean()[:, 0]]), self.heads)

    def _windows(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, list[str]]]:
        """All windows, ``CHUNK_CHARACTERS`` of them at a time, and the text that each is of."""
        series = pl.Series(texts, dtype=pl.Utf8)
        # The separators of files and records are white space to Python's patterns alone.
        words = series.str.count_matches(rf"[^\s\x1c-\x1f]{{1,{LONGEST_WORD}}}").to_numpy()
        ends = np.cumsum(series.str.len_chars().to_numpy(), dtype=np.int64)
        for part in np.split(np.arange(len(texts)), np.flatnonzero(np.diff(ends // CHUNK_CHARACTERS)) + 1):
            short = part[words[part] <= self.words]
            if short.size:
                yield short, [texts[i] for i in short]
            owners: list[int] = []
            waiting: list[str] = []
            held = 0
            for row in part[words[part] > self.words].tolist():
                for window in windows(texts[row], self.words, self.overlap):
                    owners.append(row)
                    waiting.append(window)
                    held += len(window)
                    if held >= CHUNK_CHARACTERS:
                        yield np.array(owners), waiting
                        owners, waiting, held = [], [], 0
            if waiting:
                yield np.array(owners), waiting


class WindowPool:
    """Maximum and mean of window scores over each of n texts, in any order and any number of parts.

    Attributes:
        highest: float64 (n, k).
    """

    def __init__(self, n: int, k: int) -> None:
        self.highest = np.zeros((n, k))
        self._sum = np.zeros((n, k))
        self._count = np.zeros(n, dtype=np.int64)

    def add(self, owners: np.ndarray, scores: np.ndarray) -> None:
        """Take in windows: int (m,) which text each belongs to, and (m, k) their scores, none negative."""
        np.maximum.at(self.highest, owners, scores)
        np.add.at(self._sum, owners, scores)
        np.add.at(self._count, owners, 1)

    def mean(self) -> np.ndarray:
        """Float64 (n, k)."""
        return np.asarray(self._sum / np.maximum(self._count, 1)[:, None])


def mean_name(heads: Sequence[str]) -> str:
    """Name of the head that holds the mean of the headline over windows."""
    return f"{heads[0]}_mean"


def windows(text: str, words: int, overlap: int) -> Iterator[str]:
    """The windows of a text, from its first word to its last; a text of at most ``words`` words is its only window.

    Every run of at most ``overlap`` + 1 words is whole in some window.
    """
    # More words than that need at least that many characters, the spaces between them included.
    if len(text) <= 2 * words:
        yield text
        return
    starts = [match.start() for match in _WORD.finditer(text)]
    if len(starts) <= words:
        yield text
        return
    step = words - overlap
    last = len(starts) - words
    first = 0
    while True:
        begin = min(first, last)
        end = starts[begin + words] if begin < last else len(text)
        yield text[starts[begin] : end].rstrip()
        if begin == last:
            return
        first += step
