"""From scores to probabilities, and how far the probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import rankdata

from curation_pipeline import seeds
from curation_pipeline.errors import DataError

EDGE = 1e-4
"""Scores are kept this far from 0 and 1 before a logit; it is the precision they are stored with."""


def safe_logit(scores: np.ndarray) -> np.ndarray:
    """Logit of scores in [0, 1], finite at both ends."""
    return np.asarray(logit(np.clip(np.asarray(scores, dtype=np.float64), EDGE, 1.0 - EDGE)))


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
        return np.asarray(expit(self.slope * safe_logit(scores) + self.intercept))


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


Calibrator = Platt | Isotonic
IDENTITY = Platt(1.0, 0.0)


def calibrator_to_json(calibrator: Calibrator) -> dict[str, Any]:
    """A dictionary of plain numbers and lists."""
    return {"kind": type(calibrator).__name__.lower(), **asdict(calibrator)}


def calibrator_from_json(data: Mapping[str, Any]) -> Calibrator:
    """The inverse of ``calibrator_to_json``.

    Raises:
        DataError: when it is not a calibrator.
    """
    if data.get("kind") == "platt":
        return Platt(float(data["slope"]), float(data["intercept"]))
    if data.get("kind") == "isotonic":
        return Isotonic(tuple(data["knots"]), tuple(data["values"]))
    raise DataError(f"not a calibrator: kind is {data.get('kind')!r}, allowed are platt and isotonic")


def fit_platt(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, prior_sd: float = 1.0
) -> Platt:
    """Fit by penalised likelihood, shrunk towards the identity.

    Args:
        scores: (n,) in [0, 1].
        labels: (n,) in [0, 1]; a label between 0 and 1 counts as that share of a positive.
        weights: (n,) or None.
        prior_sd: standard deviation of slope and intercept around 1 and 0, so that few labels change little.
    """
    x, y = safe_logit(scores), np.asarray(labels, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, intercept = parameters
        z = slope * x + intercept
        off = np.array([slope - 1.0, intercept]) / prior_sd**2
        value = float((w * (np.logaddexp(0.0, z) - y * z)).sum()) + 0.5 * float(off @ (off * prior_sd**2))
        error = w * (expit(z) - y)
        return value, np.array([error @ x, error.sum()]) + off

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return Platt(float(found.x[0]), float(found.x[1]))


def fit_isotonic(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Isotonic:
    """Centred isotonic regression (Oron and Flournoy 2017); labels may lie outside of [0, 1].

    Weighted least squares under monotonicity (pool adjacent violators) gives a staircase whose wide steps would tie
    most documents of a pool; joining the centres of the steps keeps their order and their calibration.
    """
    from sklearn.isotonic import isotonic_regression

    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    knots, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weights=w)
    knots, total, mass = knots[mass > 0], np.bincount(place, weights=w * y)[mass > 0], mass[mass > 0]
    steps = isotonic_regression(total / mass, sample_weight=mass, y_min=0.0, y_max=1.0)
    values, step = np.unique(steps, return_inverse=True)
    centres = np.bincount(step, weights=mass * knots) / np.bincount(step, weights=mass)
    return Isotonic(tuple(centres.tolist()), tuple(values.tolist()))


def fit_calibrator(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, isotonic_from: int = 1000
) -> Calibrator:
    """Isotonic where there are labels enough for its freedom, Platt otherwise, the identity where there are none."""
    if len(labels) == 0:
        return IDENTITY
    if len(labels) >= isotonic_from:
        return fit_isotonic(scores, labels, weights)
    return fit_platt(scores, labels, weights)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Expected calibration error with a bootstrap interval.

    Attributes:
        ece: mean over bins of equal mass of |mean label - mean probability|, in [0, 1].
        ci_low, ci_high: 95% percentile interval over resampled texts. The estimate is biased upwards on few texts.
        n: texts.
    """

    ece: float
    ci_low: float
    ci_high: float
    n: int


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """ECE over bins that hold equally many texts (Naeini et al. 2015; equal mass after Nixon et al. 2019)."""
    order = np.argsort(probabilities, kind="stable")
    gap = np.asarray(labels, dtype=np.float64)[order] - np.asarray(probabilities, dtype=np.float64)[order]
    if gap.size == 0:
        return float("nan")
    return float(sum(abs(part.sum()) for part in np.array_split(gap, min(bins, gap.size))) / gap.size)


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, seed: int, bins: int = 10, resamples: int = 400
) -> Reliability:
    """ECE of given probabilities and its bootstrap interval."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    random = seeds.generator(seed, "calibration", "bootstrap")
    draws = []
    for _ in range(resamples if p.size else 0):
        rows = random.integers(0, p.size, p.size)
        draws.append(expected_calibration_error(p[rows], y[rows], bins))
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (np.nan, np.nan)
    return Reliability(expected_calibration_error(p, y, bins), float(low), float(high), int(p.size))


def cross_fitted_reliability(
    scores: np.ndarray, labels: np.ndarray, seed: int, folds: int = 5, isotonic_from: int = 1000
) -> Reliability:
    """ECE of calibrators that never saw the texts they are judged on.

    Raises:
        DataError: when there are fewer texts than folds.
    """
    p, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.size < folds:
        raise DataError(f"cross-fitting over {folds} folds needs as many labels, got {p.size}")
    fold = seeds.generator(seed, "calibration", "folds").permutation(p.size) % folds
    out = np.empty_like(p)
    for k in range(folds):
        held = fold == k
        out[held] = fit_calibrator(p[~held], y[~held], isotonic_from=isotonic_from)(p[held])
    return reliability(out, y, seed)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve; labels above .5 are positive, below negative, at .5 left out.

    Returns:
        In [0, 1], ties counting half; NaN where one class is missing.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    s, positive = s[y != 0.5], y[y != 0.5] > 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(s)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


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


def estimate_prior(probabilities: np.ndarray, prior: float, steps: int = 500) -> float:
    """Base rate of an unlabelled set by maximum likelihood (EM of Saerens, Latinne and Decaestecker 2002).

    It assumes that only the base rate differs between the labelled and the unlabelled set. Where the kinds of text
    differ as well, as between assistant answers and an encyclopaedia, the result can be far off.

    Args:
        probabilities: (n,) posteriors on the unlabelled set under ``prior``.
        prior: base rate of the labelled set.
        steps: of the EM iteration.
    """
    new = prior
    for _ in range(steps):
        after = float(shift_prior(probabilities, prior, new).mean())
        if abs(after - new) < 1e-9:
            break
        new = after
    return new
