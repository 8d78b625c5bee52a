"""From scores to probabilities: calibrators, the choice between them, and other base rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from curation_pipeline import seeds
from curation_pipeline.errors import DataError

EDGE = 1e-4
"""Scores are kept this far from 0 and 1 before a logit; it is the precision they are stored with."""
FINE_EDGE = 1e-6
"""The same for a probability that was computed and not stored."""


def safe_logit(scores: np.ndarray, edge: float = EDGE) -> np.ndarray:
    """Logit of scores in [0, 1], finite at both ends."""
    return np.asarray(logit(np.clip(np.asarray(scores, dtype=np.float64), edge, 1.0 - edge)))


@dataclass(frozen=True, slots=True)
class Platt:
    """Logistic calibration on the logit of a score (Platt 1999); the identity at slope 1 and intercept 0.

    Attributes:
        slope: at least 0, so that the order of scores never turns round.
        intercept: shift on the logit scale.
    """

    slope: float
    intercept: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities in (0, 1) of scores in [0, 1]."""
        return np.asarray(expit(self.slope * safe_logit(scores, FINE_EDGE) + self.intercept))


@dataclass(frozen=True, slots=True)
class Beta:
    """Beta calibration (Kull, Silva Filho and Flach 2017): logit p = a ln s - b ln(1 - s) + c.

    It has the logistic curve as the case a = b, and can bend its two ends differently.

    Attributes:
        a, b: at least 0, so that the order of scores never turns round.
        c: shift on the logit scale.
    """

    a: float
    b: float
    c: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities in (0, 1) of scores in [0, 1]."""
        low, high = _log_odds_parts(scores)
        return np.asarray(expit(self.a * low + self.b * high + self.c))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Monotone piecewise linear calibration (Zadrozny and Elkan 2002), interpolated between the centres of its steps.

    Attributes:
        knots: increasing scores.
        values: probabilities at the knots, not decreasing; constant beyond the ends.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities in [0, 1] of scores in [0, 1]."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.knots, self.values)


Calibrator = Platt | Beta | Isotonic
IDENTITY = Platt(1.0, 0.0)


def calibrator_to_json(calibrator: Calibrator) -> dict[str, Any]:
    """A dictionary of plain numbers and lists."""
    return {"kind": type(calibrator).__name__.lower(), **asdict(calibrator)}


def calibrator_from_json(data: Mapping[str, Any]) -> Calibrator:
    """The inverse of ``calibrator_to_json``.

    Raises:
        DataError: when it is not a calibrator.
    """
    kind = data.get("kind")
    if kind == "platt":
        return Platt(float(data["slope"]), float(data["intercept"]))
    if kind == "beta":
        return Beta(float(data["a"]), float(data["b"]), float(data["c"]))
    if kind == "isotonic":
        return Isotonic(tuple(data["knots"]), tuple(data["values"]))
    raise DataError(f"not a calibrator: kind is {kind!r}, allowed are platt, beta and isotonic")


def fit_platt(
    scores: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    slope_sd: float = 1.0,
    background: np.ndarray | None = None,
) -> Platt:
    """Fit by penalised likelihood, shrunk towards the identity.

    Args:
        scores: (n,) in [0, 1].
        labels: (n,) in [0, 1]; a label between 0 and 1 counts as that share of a positive.
        weights: (n,) or None.
        slope_sd: prior standard deviation of the slope around 1, so that few labels change little; the intercept has
            one of 1 around 0.
        background: (n,) probability that a label is positive for another reason than the score's, or None for 0.
    """
    features = safe_logit(scores, FINE_EDGE)[:, None]
    slope, intercept = _fit_curve(features, labels, weights, slope_sd, background)
    return Platt(float(slope), float(intercept))


def fit_beta(
    scores: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    slope_sd: float = 1.0,
    background: np.ndarray | None = None,
) -> Beta:
    """Fit by penalised likelihood, shrunk towards the identity (a = b = 1, c = 0); arguments as in ``fit_platt``."""
    a, b, c = _fit_curve(np.column_stack(_log_odds_parts(scores)), labels, weights, slope_sd, background)
    return Beta(float(a), float(b), float(c))


def _log_odds_parts(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = np.clip(np.asarray(scores, dtype=np.float64), FINE_EDGE, 1.0 - FINE_EDGE)
    return np.log(s), -np.log1p(-s)


def _fit_curve(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    slope_sd: float,
    background: np.ndarray | None,
) -> np.ndarray:
    """Coefficients >= 0 around 1 and an intercept around 0 of a logistic curve above a known background."""
    x = np.column_stack([features, np.ones(len(features))])
    y = np.asarray(labels, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    h = np.zeros_like(y) if background is None else np.clip(background, 0.0, 1.0 - FINE_EDGE)
    centre = np.append(np.ones(features.shape[1]), 0.0)
    precision = np.append(np.full(features.shape[1], slope_sd**-2), 1.0)
    log_clear = np.log1p(-h)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ parameters
        off = precision * (parameters - centre)
        log_none = log_clear - np.logaddexp(0.0, z)
        some = np.maximum(-np.expm1(log_none), 1e-12)
        value = -float((w * (y * np.log(some) + (1.0 - y) * log_none)).sum())
        error = w * (1.0 - y - y * np.exp(log_none) / some) * expit(z)
        return value + 0.5 * float(off @ (parameters - centre)), error @ x + off

    bounds = [(0.0, None)] * features.shape[1] + [(None, None)]
    return np.asarray(minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x)


def fit_isotonic(
    scores: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    background: np.ndarray | None = None,
) -> Isotonic:
    """Centred isotonic regression (Oron and Flournoy 2017); labels may lie outside of [0, 1].

    Weighted least squares under monotonicity (pool adjacent violators) gives a staircase whose wide steps would tie
    most documents of a pool; joining the centres of the steps keeps their order and their calibration. A ``background``
    h is cleared from the labels by Abbott's formula: (y - h) / (1 - h) has the score's own probability as expectation.
    """
    from sklearn.isotonic import isotonic_regression

    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    if background is not None:
        clear = np.maximum(1.0 - background, 0.05)
        y, w = 1.0 - (1.0 - y) / clear, w * clear**2
    knots, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weights=w)
    knots, total, mass = knots[mass > 0], np.bincount(place, weights=w * y)[mass > 0], mass[mass > 0]
    steps = isotonic_regression(total / mass, sample_weight=mass, y_min=0.0, y_max=1.0)
    values, step = np.unique(steps, return_inverse=True)
    centres = np.bincount(step, weights=mass * knots) / np.bincount(step, weights=mass)
    return Isotonic(tuple(centres.tolist()), tuple(values.tolist()))


def log_loss(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean negative log-likelihood of labels in [0, 1]; a probability of exactly 0 or 1 counts as `EDGE` from it."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), EDGE, 1.0 - EDGE)
    y = np.asarray(labels, dtype=np.float64)
    return -float(np.average(y * np.log(p) + (1.0 - y) * np.log1p(-p), weights=weights))


def fit_calibrator(
    scores: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    isotonic_from: int = 1000,
    background: np.ndarray | None = None,
    folds: int = 5,
    slope_sd: float = 1.0,
) -> Calibrator:
    """The calibrator with the least cross-validated log loss, fitted on all labels.

    Platt's sigmoid is the choice below 5 labels a fold, beta calibration competes from there, isotonic regression from
    ``isotonic_from`` labels (its freedom costs more than it gives on fewer: Niculescu-Mizil and Caruana 2005). Without
    labels it is the identity.

    Args:
        scores: (n,) in [0, 1].
        labels: (n,) in [0, 1].
        weights: (n,) or None.
        isotonic_from: see above.
        background: as in ``fit_platt``.
        folds: of the cross-validation, which depends on the number of labels alone.
        slope_sd: as in ``fit_platt``.
    """
    n = len(labels)
    if n == 0:
        return IDENTITY
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    h = np.zeros(n) if background is None else np.asarray(background, dtype=np.float64)
    fits: list[Callable[[np.ndarray], Calibrator]] = [lambda at: fit_platt(s[at], y[at], w[at], slope_sd, h[at])]
    if n >= 5 * folds:
        fits.append(lambda at: fit_beta(s[at], y[at], w[at], slope_sd, h[at]))
    if n >= isotonic_from:
        fits.append(lambda at: fit_isotonic(s[at], y[at], w[at], background=h[at]))
    if len(fits) == 1:
        return fits[0](np.ones(n, dtype=bool))
    fold = seeds.generator(n, "calibration", "choice").permutation(n) % folds
    losses = []
    for fit in fits:
        out = np.empty(n)
        for k in range(folds):
            held = fold == k
            out[held] = fit(~held)(s[held])
        losses.append(log_loss(1.0 - (1.0 - out) * (1.0 - h), y, w))
    return fits[int(np.argmin(losses))](np.ones(n, dtype=bool))


def shift_prior(probabilities: np.ndarray, prior: float, new_prior: float) -> np.ndarray:
    """Posteriors under another base rate, with class-conditional densities unchanged (Elkan 2001).

    Args:
        probabilities: (n,) posteriors under ``prior``.
        prior: base rate in (0, 1) that they were made with.
        new_prior: base rate in [0, 1]; 0 gives 0 everywhere.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    positive, negative = p * (new_prior / prior), (1.0 - p) * ((1.0 - new_prior) / (1.0 - prior))
    total = positive + negative
    return np.divide(positive, total, out=np.zeros_like(p), where=total > 0)
