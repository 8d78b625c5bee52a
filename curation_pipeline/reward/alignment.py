"""The alignment reward: how much a text resembles what people judged acceptable, in [0, 1], 1 = aligned.

A logistic head on sentence vectors, fitted on human-labelled anchors. The teachers' scores are left out on purpose, so
that alignment says something that safety does not already say. Each data set weighs the same, and within every group of
people (or category) of a set both classes do: otherwise the largest set would decide, and naming a group whose comments
were more often labelled stereotyping would by itself count as not aligned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize
from scipy.special import expit

from curation_pipeline.errors import DataError
from curation_pipeline.reward.calibration import (
    Calibrator,
    Reliability,
    auroc,
    calibrator_from_json,
    calibrator_to_json,
    fit_calibrator,
    reliability,
)
from curation_pipeline.reward.settings import RewardSettings

DECIMALS = 4


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentModel:
    """A calibrated logistic head.

    Attributes:
        coef: (d,) float64; ``intercept``.
        calibrator: fitted on the labels of role ``calibrate`` under the same balance.
    """

    coef: np.ndarray
    intercept: float
    calibrator: Calibrator

    def score(self, vectors: np.ndarray) -> np.ndarray:
        """Alignment of documents.

        Args:
            vectors: (n, d) sentence vectors.

        Returns:
            float32 of shape (n,) in [0, 1], rounded to 4 decimals.

        Raises:
            DataError: when the vectors have another size.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.coef.size:
            raise DataError(f"alignment: vectors of shape {vectors.shape}, expected (n, {self.coef.size})")
        raw = expit(np.asarray(vectors, dtype=np.float64) @ self.coef + self.intercept)
        return np.asarray(np.round(np.clip(self.calibrator(raw), 0.0, 1.0), DECIMALS), dtype=np.float32)

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON-serialisable metadata."""
        return {"coef": self.coef}, {"intercept": self.intercept, "calibrator": calibrator_to_json(self.calibrator)}

    @staticmethod
    def from_parts(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> AlignmentModel:
        """The inverse of ``to_parts``."""
        return AlignmentModel(arrays["coef"], float(meta["intercept"]), calibrator_from_json(meta["calibrator"]))


def fit_alignment(
    vectors: np.ndarray,
    labels: np.ndarray,
    datasets: np.ndarray | pl.Series,
    roles: np.ndarray | pl.Series,
    settings: RewardSettings,
    groups: np.ndarray | pl.Series | None = None,
) -> AlignmentModel:
    """Fit on the texts of role ``fit`` and calibrate on those of role ``calibrate``; others are ignored.

    Args:
        vectors: (n, d) sentence vectors.
        labels: (n,) in [0, 1], 1 = aligned; for a set that labels harm or stereotyping, pass 1 - label.
        datasets: n names of data sets.
        roles: n roles.
        settings: ``l2`` and ``isotonic_from``.
        groups: n names of groups or categories within a data set, or None for one group each.

    Raises:
        DataError: when no text has role ``fit``, labels lie outside of [0, 1], or lengths differ.
    """
    x, y = np.asarray(vectors, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    role, dataset = np.asarray(roles), np.asarray(datasets)
    if not (len(x) == len(y) == len(role) == len(dataset)):
        raise DataError(f"alignment: {len(x)} vectors, {len(y)} labels, {len(dataset)} data sets, {len(role)} roles")
    group = np.full(len(y), "") if groups is None else np.asarray([str(name) for name in groups])
    fit, tune = role == "fit", role == "calibrate"
    if not fit.any() or not np.isfinite(y).all() or y.min() < 0 or y.max() > 1:
        raise DataError(f"alignment: {int(fit.sum())} texts of role fit; it takes some, with labels in [0, 1]")
    positive, negative = _balanced(y[fit], dataset[fit], group[fit])
    mass = positive + negative
    rows = x[fit]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = rows @ parameters[:-1] + parameters[-1]
        value = (mass * np.logaddexp(0.0, z) - positive * z).sum()
        error = mass * expit(z) - positive
        value += 0.5 * settings.l2 * float(parameters[:-1] @ parameters[:-1])
        gradient = np.append(error @ rows + settings.l2 * parameters[:-1], error.sum())
        return float(value), gradient

    solution = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    coef, intercept = solution[:-1], float(solution[-1])
    raw = expit(x[tune] @ coef + intercept)
    positive, negative = _balanced(y[tune], dataset[tune], group[tune])
    # A soft label stands for a positive and a negative of its shares; the balance weighs the two sides differently.
    calibrator = fit_calibrator(
        np.concatenate([raw, raw]),
        np.concatenate([np.ones_like(raw), np.zeros_like(raw)]),
        np.concatenate([positive, negative]),
        isotonic_from=2 * settings.isotonic_from,
    )
    return AlignmentModel(coef, intercept, calibrator)


def _balanced(y: np.ndarray, dataset: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the positive and of the negative share of each label, which sum to n.

    Data sets have equal mass, groups the mass of their texts within their set, the two classes of a group equal mass.
    """
    positive, negative = y.copy(), 1.0 - y
    names = np.unique(dataset)
    for name in names:
        inside = dataset == name
        for part in np.unique(group[inside]):
            rows = inside & (group == part)
            mass = len(y) / len(names) * rows.sum() / inside.sum()
            for side in (positive, negative):
                total = side[rows].sum()
                if total > 0:
                    side[rows] *= mass / (2.0 * total)
    return positive, negative


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
    reliability: Reliability
    n: int


def alignment_quality(
    model: AlignmentModel,
    vectors: np.ndarray,
    labels: np.ndarray,
    datasets: np.ndarray | pl.Series,
    seed: int = 0,
    groups: np.ndarray | pl.Series | None = None,
) -> list[AlignmentQuality]:
    """Quality on labelled texts of role ``report``, by data set."""
    score, y, dataset = model.score(vectors), np.asarray(labels, dtype=np.float64), np.asarray(datasets)
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
