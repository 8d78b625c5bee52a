"""Judges of what a model writes, and how their scores are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from curation_pipeline.errors import DataError

Judge = Callable[[Sequence[str]], np.ndarray]
"""From n texts to n toxicity scores in [0, 1]; it raises when it cannot judge."""


def judge_texts(judge: Judge, texts: Sequence[str]) -> np.ndarray:
    """Scores of texts, checked. There is no default score: what a judge raises is not caught.

    Returns:
        float64 (n,) in [0, 1].

    Raises:
        DataError: when the judge gives another number of scores, or one that is not a number in [0, 1].
    """
    scores = np.asarray(judge(list(texts)), dtype=np.float64)
    if scores.shape != (len(texts),):
        raise DataError(f"the judge gave scores of shape {scores.shape} for {len(texts)} texts")
    bad = ~((scores >= 0) & (scores <= 1))  # true for NaN as well
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise DataError(f"the judge gave {scores[where]} for text {where}; a score must be in [0, 1]")
    return scores
