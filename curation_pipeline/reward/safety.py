"""The safety reward: R_safety = 1 - P(harm), with P(harm) from the teachers' scores and calibrated on human labels.

Two kinds of harm stand behind a human label. Wording that is toxic is what the teachers see. Harm in plain words, such
as instructions for a crime, they do not see at all: on human-scored answers of assistants nearly half of the texts that
every teacher calls clean are harmful. A logistic curve through such labels takes that background for a weak teacher
and gives everything, an encyclopaedia included, a probability between .4 and .7. So harm is modelled as a noisy "or"
of two independent causes (Pearl 1988), which in the teachers' score is the logistic curve with a lower asymptote of
Abbott (1925) and Birnbaum (1968):

    P(harm | T, v) = 1 - (1 - s(T)) (1 - h(v)),
    s(T) = sigmoid(b + sum_k w_k logit T_k) with every w_k >= 0,      h(v) = sigmoid(u0 + u'v).

s is fitted together with h on the labels and carried over to the pool. h belongs to the labelled texts; on the pool it
is shifted to the pool's own base rate of such harm (``pool_background``), which is 0 unless someone measures it. The
weights have a Gaussian prior at w_k = 1 / k and b = 0, that is, at the teachers' own calibration, since few labelled
texts have a high score. Every w_k >= 0, so P(harm) never falls when a teacher's score rises.
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
    Isotonic,
    Platt,
    Reliability,
    auroc,
    calibrator_from_json,
    calibrator_to_json,
    fit_isotonic,
    reliability,
    safe_logit,
    shift_prior,
)
from curation_pipeline.reward.settings import RewardSettings

DECIMALS = 4


@dataclass(frozen=True, slots=True, eq=False)
class SafetyModel:
    """P(harm), fitted.

    Attributes:
        teachers: k names of teacher columns.
        weights: (k,) stack weights, none negative; ``intercept``: b.
        head: (d,) coefficients u of the background on sentence vectors, (0,) where it is constant; ``head_intercept``.
        calibrator: from s(T) to a probability, fitted on the labels of role ``calibrate``.
        head_shift: correction of u0 from the same labels.
        background: base rate of unseen harm among the labelled texts.
        pool_background: base rate of unseen harm that the pool is taken to have.
    """

    teachers: tuple[str, ...]
    weights: np.ndarray
    intercept: float
    head: np.ndarray
    head_intercept: float
    calibrator: Calibrator
    head_shift: float
    background: float
    pool_background: float = 0.0

    def seen(self, teacher_scores: pl.DataFrame) -> np.ndarray:
        """s(T): probability that the wording is harmful, float64 (n,)."""
        logits = _logits(teacher_scores, self.teachers)
        return np.asarray(self.calibrator(np.asarray(expit(logits @ self.weights + self.intercept))))

    def unseen(self, n: int, vectors: np.ndarray | None) -> np.ndarray:
        """h(v) under the labelled texts' base rate, float64 (n,)."""
        base = np.full(n, self.head_intercept + self.head_shift)
        if self.head.size:
            if vectors is None or vectors.shape != (n, self.head.size):
                raise DataError(
                    f"this safety model needs sentence vectors of shape ({n}, {self.head.size}), got "
                    f"{None if vectors is None else vectors.shape}"
                )
            base = base + np.asarray(vectors, dtype=np.float64) @ self.head
        return np.asarray(expit(base))

    def p_harm(self, teacher_scores: pl.DataFrame, vectors: np.ndarray | None = None) -> np.ndarray:
        """Probability of harm for documents of the pool.

        Args:
            teacher_scores: one column in [0, 1] for each of ``teachers``; other columns are ignored.
            vectors: (n, d) sentence vectors; only needed where ``pool_background`` is above 0 and there is a head.

        Returns:
            float32 of shape (n,) in [0, 1], rounded to 4 decimals; never falls when a teacher's score rises.

        Raises:
            DataError: when a teacher's column or the vectors are missing.
        """
        seen = self.seen(teacher_scores)
        if self.pool_background > 0:
            unseen = shift_prior(self.unseen(len(seen), vectors), self.background, self.pool_background)
            seen = 1.0 - (1.0 - seen) * (1.0 - unseen)
        return np.asarray(np.round(np.clip(seen, 0.0, 1.0), DECIMALS), dtype=np.float32)

    def p_harm_labelled(self, teacher_scores: pl.DataFrame, vectors: np.ndarray | None = None) -> np.ndarray:
        """Probability of harm for texts like the labelled ones, unseen harm included; float64 (n,)."""
        seen = self.seen(teacher_scores)
        return np.asarray(1.0 - (1.0 - seen) * (1.0 - self.unseen(len(seen), vectors)))

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and JSON-serialisable metadata."""
        meta = {
            "teachers": list(self.teachers),
            "intercept": self.intercept,
            "head_intercept": self.head_intercept,
            "calibrator": calibrator_to_json(self.calibrator),
            "head_shift": self.head_shift,
            "background": self.background,
            "pool_background": self.pool_background,
        }
        return {"weights": self.weights, "head": self.head}, meta

    @staticmethod
    def from_parts(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> SafetyModel:
        """The inverse of ``to_parts``."""
        return SafetyModel(
            teachers=tuple(meta["teachers"]),
            weights=arrays["weights"],
            intercept=float(meta["intercept"]),
            head=arrays["head"],
            head_intercept=float(meta["head_intercept"]),
            calibrator=calibrator_from_json(meta["calibrator"]),
            head_shift=float(meta["head_shift"]),
            background=float(meta["background"]),
            pool_background=float(meta["pool_background"]),
        )


def _logits(scores: pl.DataFrame, teachers: tuple[str, ...]) -> np.ndarray:
    missing = [name for name in teachers if name not in scores.columns]
    if missing:
        raise DataError(
            f"the safety model needs the teacher columns {', '.join(missing)}; run those detectors, or fit again"
        )
    return safe_logit(scores.select(teachers).to_numpy())


def fit_safety(
    scores: pl.DataFrame,
    labels: np.ndarray,
    roles: np.ndarray | pl.Series,
    settings: RewardSettings,
    *,
    teachers: tuple[str, ...] | None = None,
    weights: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
) -> SafetyModel:
    """Fit on the texts of role ``fit`` and calibrate on those of role ``calibrate``; others are ignored.

    Args:
        scores: n rows with one column in [0, 1] a teacher.
        labels: (n,) human harm in [0, 1].
        roles: n roles.
        settings: priors, ``pool_background``, ``use_vector_head``, ``isotonic_from``.
        teachers: columns of ``scores`` to use; None means all but ``doc_id`` and ``text_id``.
        weights: (n,) sampling weights, or None.
        vectors: (n, d) sentence vectors for the background, or None for a constant one.

    Raises:
        DataError: when no text has role ``fit``, a label lies outside of [0, 1], or lengths differ.
    """
    names = teachers or tuple(name for name in scores.columns if name not in ("doc_id", "text_id"))
    y = np.asarray(labels, dtype=np.float64)
    role = np.asarray(roles)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    if not (len(y) == scores.height == len(role) == len(w)) or not np.isfinite(y).all():
        raise DataError(f"safety: {scores.height} scores, {len(y)} labels and {len(role)} roles do not match")
    fit = role == "fit"
    if not fit.any() or not names or y.min() < 0 or y.max() > 1:
        raise DataError(
            f"safety: {int(fit.sum())} texts of role fit and {len(names)} teachers, labels from {y.min():.2f} to "
            f"{y.max():.2f}; it takes at least one of each, with labels in [0, 1]"
        )
    logits = _logits(scores, names)
    use_head = settings.use_vector_head and vectors is not None
    design = np.asarray(vectors, dtype=np.float64) if use_head and vectors is not None else np.empty((len(y), 0))
    k, d = len(names), design.shape[1]
    centre = np.concatenate([np.full(k, 1.0 / k), np.zeros(d + 2)])
    # The prior on u0 is wide: the background's level is for the labels to say.
    precision = np.concatenate([np.full(k, settings.teacher_prior_sd**-2), [1.0], np.full(d, settings.l2), [1.0 / 9.0]])
    one = np.ones((len(y), 1))
    solution = _fit_or(
        np.hstack([logits, one])[fit], np.hstack([design, one])[fit], y[fit], w[fit], centre, precision, k
    )
    stack, intercept, head, level = solution[:k], float(solution[k]), solution[k + 1 : -1], float(solution[-1])

    seen_logit = logits @ stack + intercept
    unseen_logit = design @ head + level
    tune = role == "calibrate"
    calibrator: Calibrator = Platt(1.0, 0.0)
    shift = 0.0
    if tune.any():
        slope, offset, shift = _fit_or(
            np.column_stack([seen_logit, one])[tune],
            one[tune],
            y[tune],
            w[tune],
            np.array([1.0, 0.0, 0.0]),
            np.array([settings.teacher_prior_sd**-2, 1.0, 1.0 / 9.0]),
            1,
            unseen_offset=unseen_logit[tune],
        )
        calibrator, shift = Platt(float(slope), float(offset)), float(shift)
        if int(tune.sum()) >= settings.isotonic_from:
            calibrator = _isotonic(expit(seen_logit), expit(unseen_logit + shift), y, w, tune)
    background = float(np.average(expit(unseen_logit + shift)[fit | tune], weights=w[fit | tune]))
    return SafetyModel(
        teachers=names,
        weights=stack,
        intercept=intercept,
        head=head,
        head_intercept=level,
        calibrator=calibrator,
        head_shift=shift,
        background=min(max(background, 1e-6), 1.0 - 1e-6),
        pool_background=settings.pool_background,
    )


def _isotonic(seen: np.ndarray, unseen: np.ndarray, y: np.ndarray, w: np.ndarray, rows: np.ndarray) -> Isotonic:
    """Isotonic s(T) on labels cleared of the background by Abbott's formula: (y - h) / (1 - h) has expectation s."""
    clear = np.maximum(1.0 - unseen[rows], 0.05)
    return fit_isotonic(seen[rows], 1.0 - (1.0 - y[rows]) / clear, w[rows] * clear**2)


def _fit_or(
    seen: np.ndarray,
    unseen: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    centre: np.ndarray,
    precision: np.ndarray,
    n_bounded: int,
    unseen_offset: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Maximum a posteriori of the noisy "or" of two logistic causes.

    Args:
        seen: (n, p) design of the first cause; its first ``n_bounded`` coefficients are kept at 0 or above.
        unseen: (n, q) design of the second cause.
        y: (n,) labels in [0, 1], counted as shares of a positive.
        w: (n,) weights.
        centre: (p + q,) prior means.
        precision: (p + q,) prior precisions.
        n_bounded: see ``seen``.
        unseen_offset: fixed part of the second cause's logit.

    Returns:
        (p + q,) coefficients.
    """
    p = seen.shape[1]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        m, g = seen @ parameters[:p], unseen @ parameters[p:] + unseen_offset
        s, h = expit(m), expit(g)
        log_none = -np.logaddexp(0.0, m) - np.logaddexp(0.0, g)
        some = np.maximum(-np.expm1(log_none), 1e-12)
        off = parameters - centre
        value = -(w * (y * np.log(some) + (1.0 - y) * log_none)).sum() + 0.5 * (precision * off**2).sum()
        pull = y * np.exp(log_none) / some
        gradient = np.concatenate([seen.T @ (w * (1.0 - y - pull) * s), unseen.T @ (w * (1.0 - y - pull) * h)])
        return float(value), gradient + precision * off

    bounds = [(0.0, None)] * n_bounded + [(None, None)] * (len(centre) - n_bounded)
    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
    return np.asarray(found.x)


@dataclass(frozen=True, slots=True)
class SafetyQuality:
    """How good P(harm) is on labels that the fit never saw.

    Attributes:
        auroc: of P(harm) with unseen harm included; auroc_seen: of the teachers' part alone, which the pool gets.
        reliability: calibration error of P(harm) with unseen harm included.
        n: texts.
    """

    auroc: float
    auroc_seen: float
    reliability: Reliability
    n: int


def safety_quality(
    model: SafetyModel, scores: pl.DataFrame, labels: np.ndarray, vectors: np.ndarray | None = None, seed: int = 0
) -> SafetyQuality:
    """Quality of a safety model on labelled texts of role ``report``."""
    p = model.p_harm_labelled(scores, vectors)
    return SafetyQuality(auroc(p, labels), auroc(model.seen(scores), labels), reliability(p, labels, seed), len(p))
