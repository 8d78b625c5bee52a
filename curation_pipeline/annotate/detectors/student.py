"""A cheap imitation of an expensive detector: logistic regression on its scores over hashed words and word pieces.

Knowledge distillation (Hinton, Vinyals and Dean 2015) from soft scores into a linear model, in the way that corpus
filters have fast classifiers imitate large ones. It needs no labels, only texts of the corpus that the expensive
detector has scored, and it is meant to be asked together with that one, in a cascade.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import scipy

from curation_pipeline.annotate import subwords
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.sparse_logistic import Rows, Weights, choose_penalty, fit_logistic
from curation_pipeline.errors import DataError
from curation_pipeline.progress import Progress, silent

NAME = "student"
VERSION = 1
CHUNK = 4096
_ARRAYS = ("weights", "idf", "bias")


@dataclass(frozen=True, slots=True, eq=False)
class StudentDetector:
    """A fitted student.

    Attributes:
        weights: float32 (2 ** (bits + 1),) of hashed words, then of word pieces.
        idf: float32, the same shape, factor of each bucket.
        bias: float32 (1,).
    """

    weights: np.ndarray
    idf: np.ndarray
    bias: np.ndarray
    name: str = NAME
    heads: tuple[str, ...] = (NAME,)

    @property
    def version(self) -> str:
        """Hash of the parameters and of what the features mean."""
        digest = hashlib.sha256(json.dumps([VERSION, subwords.VERSION]).encode())
        for array in self.arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """One Float32 column, the student's guess of the expensive detector's headline, a row a text."""
        report = progress or silent
        parts = [np.empty(0)]
        bits = len(self.idf).bit_length() - 2
        for start in range(0, len(texts), CHUNK):
            chunk = pl.Series(list(texts[start : start + CHUNK]), dtype=pl.Utf8)
            features = subwords.subword_features(chunk, bits, self.idf)
            parts.append(
                scipy.special.expit(np.asarray(features @ self.weights, dtype=np.float64) + float(self.bias[0]))
            )
            report(f"scoring with {self.name}", min(1.0, (start + CHUNK) / len(texts)))
        return score_frame(np.concatenate(parts)[:, None], self.heads)

    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters, by name."""
        return {name: getattr(self, name) for name in _ARRAYS}


def student_from(arrays: Mapping[str, np.ndarray]) -> StudentDetector:
    """The student whose ``arrays`` these are."""
    return StudentDetector(weights=arrays["weights"], idf=arrays["idf"], bias=arrays["bias"])


def fit_student(
    texts: pl.Series, scores: np.ndarray, bits: int, inverse_penalty: Sequence[float], fold: np.ndarray
) -> tuple[StudentDetector, np.ndarray, dict[str, Any]]:
    """Fit a student to an expensive detector's scores.

    Args:
        texts: n strings.
        scores: (n,) in [0, 1], of the expensive detector; they enter as soft labels.
        bits: 2 ** bits buckets of words and as many of word pieces.
        inverse_penalty: values of C, of which cross-validation chooses.
        fold: int (n,), the part in which each text is left out.

    Returns:
        The student of all texts; float64 (n,), what students that had not seen a text say of it; facts of the fit.

    Raises:
        DataError: lengths differ, or the scores say nothing: all are 0 or all are 1.
    """
    target = np.asarray(scores, dtype=np.float64)
    if len(texts) != len(target) or len(target) != len(fold):
        raise DataError(f"the student has {len(texts)} texts, {len(target)} scores and {len(fold)} folds")
    idf = subwords.inverse_document_frequency(subwords.subword_features(texts, bits))
    rows = Rows(subwords.subword_features(texts, bits, idf))
    chosen, losses = choose_penalty(rows, target, 1.0 - target, fold, np.ones(len(target), dtype=bool), inverse_penalty)
    unseen = np.empty(len(target))
    for part in np.unique(fold):
        out = fold == part
        weights = fit_logistic(rows[np.flatnonzero(~out)], target[~out], 1.0 - target[~out], chosen)
        unseen[out] = scipy.special.expit(weights.margins(rows[np.flatnonzero(out)]))
    found: Weights = fit_logistic(rows, target, 1.0 - target, chosen)
    student = StudentDetector(found.sparse.astype(np.float32), idf, np.array([found.bias], dtype=np.float32))
    facts = {
        "texts": len(target),
        "inverse_penalty": chosen,
        "held_out_loss": dict(zip(map(str, inverse_penalty), np.round(losses, 5).tolist(), strict=True)),
    }
    return student, unseen, facts
