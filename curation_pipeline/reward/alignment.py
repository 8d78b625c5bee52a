"""The alignment reward: how much a text resembles what people judged acceptable, in [0, 1], 1 = aligned.

A logistic head on sentence vectors, and where the profile says so on the logits of named teachers (such as the bias and
the subtle head; ``reward.alignment_features``). The toxicity teachers are left out by default, so that alignment says
something that safety does not already say. Three kinds of evidence are fitted together:

    anchors      human labels of single texts;
    preferences  human choices between two replies, as differences of features (Bradley and Terry 1952), so that what
                 both replies share, such as their topic, says nothing;
    principles   written statements with a few own examples (principles.py): a weak proxy with a weight of its own.

Each data set weighs the same, and within every group of people (or category) of a set both classes do: otherwise the
largest set would decide, and naming a group whose comments were more often labelled stereotyping would by itself count
as not aligned. A teacher's coefficient is never above 0: a higher score of harm never makes a text more aligned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from curation_pipeline.bootstrap import Interval
from curation_pipeline.errors import DataError
from curation_pipeline.reward.calibration import (
    Calibrator,
    calibrator_from_json,
    calibrator_to_json,
    safe_logit,
)
from curation_pipeline.reward.metrics import auroc, reliability

DECIMALS = 4
VECTORS = "vectors"


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentModel:
    """A calibrated logistic head.

    Attributes:
        coef: (d,) float64 on vectors, (0,) where they are not used; ``intercept``.
        calibrator: fitted on the labels of role ``calibrate`` under the same balance.
        teachers: m teacher columns whose logits it reads.
        teacher_coef: (m,) float64, none above 0.
    """

    coef: np.ndarray
    intercept: float
    calibrator: Calibrator
    teachers: tuple[str, ...] = ()
    teacher_coef: np.ndarray | None = None

    def raw(self, vectors: np.ndarray, documents: pl.DataFrame | None = None) -> np.ndarray:
        """The logit before calibration, float64 (n,).

        Args:
            vectors: (n, d) sentence vectors.
            documents: n rows with the columns of ``teachers``; may be None where there are none.

        Raises:
            DataError: when the vectors have another size, or a teacher's column is missing.
        """
        if vectors.ndim != 2 or (self.coef.size and vectors.shape[1] != self.coef.size):
            raise DataError(f"alignment: vectors of shape {vectors.shape}, expected (n, {self.coef.size})")
        z = np.full(len(vectors), self.intercept)
        if self.coef.size:
            z += np.asarray(vectors, dtype=np.float64) @ self.coef
        if self.teachers and self.teacher_coef is not None:
            z += teacher_logits(documents, self.teachers, len(vectors)) @ self.teacher_coef
        return z

    def score(self, vectors: np.ndarray, documents: pl.DataFrame | None = None) -> np.ndarray:
        """Alignment of documents: float32 of shape (n,) in [0, 1], rounded to 4 decimals; arguments as in ``raw``."""
        p = self.calibrator(expit(self.raw(vectors, documents)))
        return np.asarray(np.round(np.clip(p, 0.0, 1.0), DECIMALS), dtype=np.float32)

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON-serialisable metadata."""
        own = np.zeros(0) if self.teacher_coef is None else self.teacher_coef
        meta = {
            "intercept": self.intercept,
            "calibrator": calibrator_to_json(self.calibrator),
            "teachers": list(self.teachers),
        }
        return {"coef": self.coef, "teacher_coef": own}, meta

    @staticmethod
    def from_parts(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> AlignmentModel:
        """The inverse of ``to_parts``."""
        return AlignmentModel(
            arrays["coef"],
            float(meta["intercept"]),
            calibrator_from_json(meta["calibrator"]),
            tuple(meta["teachers"]),
            arrays["teacher_coef"],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """What a model knows of n texts: (n, d) ``vectors``, and n rows of teacher columns where they are read."""

    vectors: np.ndarray
    scores: pl.DataFrame | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Human choices between two replies.

    Attributes:
        preferred, dispreferred: n texts each, in one order.
        source: (n,) data set of each pair.
        role: (n,); only ``fit`` is fitted on.
    """

    preferred: Texts
    dispreferred: Texts
    source: np.ndarray
    role: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Examples of written principles: n ``texts``, ``label`` (n,) 1 = complies, ``principle`` (n,) its name."""

    texts: Texts
    label: np.ndarray
    principle: np.ndarray


def teacher_logits(documents: pl.DataFrame | None, teachers: tuple[str, ...], n: int) -> np.ndarray:
    """(n, m) logits of teacher columns.

    Raises:
        DataError: when a column is missing.
    """
    missing = [name for name in teachers if documents is None or name not in documents.columns]
    if missing or documents is None or documents.height != n:
        raise DataError(
            f"alignment reads the teacher columns {', '.join(teachers)} of {n} texts; missing are "
            f"{', '.join(missing) or 'rows'}: run those detectors, or change reward.alignment_features"
        )
    return safe_logit(documents.select(teachers).to_numpy())


@dataclass(frozen=True, slots=True)
class AlignmentQuality:
    """Quality on held-out labels of one data set.

    Attributes:
        dataset: its name.
        auroc: over all texts; auroc_within: mean over groups of that within the group, by their sizes, which naming a
            group cannot raise.
        reliability: calibration error; the model is calibrated for balanced classes, the labels may not be balanced.
        n: texts.
    """

    dataset: str
    auroc: float
    auroc_within: float
    reliability: Interval
    n: int


def alignment_quality(
    model: AlignmentModel,
    vectors: np.ndarray,
    labels: np.ndarray,
    datasets: np.ndarray | pl.Series,
    seed: int = 0,
    groups: np.ndarray | pl.Series | None = None,
    scores: pl.DataFrame | None = None,
) -> list[AlignmentQuality]:
    """Quality on labelled texts of role ``report``, by data set."""
    score, y, dataset = model.score(vectors, scores), np.asarray(labels, dtype=np.float64), np.asarray(datasets)
    group = np.full(len(y), "") if groups is None else np.asarray([str(name) for name in groups])
    out = []
    for name in sorted(set(dataset.tolist())):
        rows = dataset == name
        parts = [rows & (group == part) for part in np.unique(group[rows])]
        areas = np.array([auroc(score[part], y[part]) for part in parts])
        sizes = np.array([part.sum() for part in parts])
        known = np.isfinite(areas)
        within = float(np.average(areas[known], weights=sizes[known])) if known.any() else float("nan")
        error = reliability(score[rows], y[rows], seed)
        out.append(AlignmentQuality(str(name), auroc(score[rows], y[rows]), within, error, int(rows.sum())))
    return out
