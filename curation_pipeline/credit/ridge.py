"""Bayesian ridge regression with evidence maximisation, and its leave-one-out R2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ITERATIONS = 300
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A fit of y = intercept + X w.

    Attributes:
        coefficients: float64 (p,).
        intercepts: float64 (groups,), one for each group of rows.
        penalty: ratio of the prior's precision to the noise's.
        r2: leave-one-out R2, at most 1 and possibly below 0: the share of the variance, weighted like the fit, that is
            predicted for rows left out; the comparison is the mean of the other rows of the same group.
    """

    coefficients: np.ndarray
    intercepts: np.ndarray
    penalty: float
    r2: float


def bayesian_ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray, group: np.ndarray) -> Ridge:
    """Weighted ridge whose prior and noise precisions maximise the evidence (MacKay, 1992).

    The unpenalised intercept of each group is projected out first, so evidence and leave-one-out see n minus the
    number of groups degrees of freedom. The leave-one-out residuals are exact for the fitted penalty: residual over
    one minus the leverage, the intercept's share of it included.

    Args:
        x: (n, p) features on one common scale, as the prior is the same for all.
        y: (n,).
        weight: (n,) positive, relative precisions of the rows.
        group: (n,) integers from 0: rows of one group share an intercept.
    """
    n = x.shape[0]
    root = np.sqrt(weight / weight.mean())
    indicator = (group[:, None] == np.arange(group.max() + 1)[None, :]) * root[:, None]
    basis, _ = np.linalg.qr(indicator)
    x_rest = x * root[:, None]
    x_rest = x_rest - basis @ (basis.T @ x_rest)
    y_rest = y * root
    y_rest = y_rest - basis @ (basis.T @ y_rest)
    degrees = max(n - indicator.shape[1], 1)
    u, s, vt = np.linalg.svd(x_rest, full_matrices=False)
    signal = u.T @ y_rest
    total = float(y_rest @ y_rest)
    penalty = _evidence(s, signal, total, degrees)
    shrink = s**2 / (s**2 + penalty)
    coefficients = vt.T @ (s / (s**2 + penalty) * signal)
    residual = y_rest - u @ (shrink * signal)
    base_leverage = (basis**2).sum(axis=1)
    leverage = base_leverage + (u**2 * shrink).sum(axis=1)
    usable = base_leverage < 1 - 1e-9  # a group of one row has nothing to be compared with
    press = residual[usable] / np.maximum(1 - leverage[usable], 1e-9)
    null = y_rest[usable] / (1 - base_leverage[usable])
    denominator = float(null @ null)
    r2 = 1.0 - float(press @ press) / denominator if denominator > 1e-18 else 0.0
    fitted = y - x @ coefficients
    sums = np.bincount(group, weights=weight)
    intercepts = np.bincount(group, weights=weight * fitted) / sums
    return Ridge(coefficients, intercepts, penalty, r2)


def _evidence(s: np.ndarray, signal: np.ndarray, total: float, degrees: int) -> float:
    """The ratio prior precision / noise precision that maximises the evidence.

    It is a function of one number once the noise is maximised out, so a grid in its logarithm with a golden-section
    finish finds the global maximum, where fixed-point updates may stop at a local one.
    """
    if total <= 0 or s.size == 0 or s.max() <= 0:
        return 1e12
    scale = float((s**2).max())

    def negative(log_ratio: float) -> float:
        ratio = scale * float(np.exp(log_ratio))
        misfit = total - float((s**2 / (s**2 + ratio) * signal**2).sum())
        return 0.5 * degrees * float(np.log(max(misfit, 1e-12 * total))) + 0.5 * float(np.log1p(s**2 / ratio).sum())

    grid = np.linspace(-14.0, 7.0, 64)
    best = int(np.argmin([negative(value) for value in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    golden = (np.sqrt(5.0) - 1) / 2
    for _ in range(_ITERATIONS):
        if high - low < _TOLERANCE:
            break
        left, right = high - golden * (high - low), low + golden * (high - low)
        if negative(left) < negative(right):
            high = right
        else:
            low = left
    return float(scale * np.exp((low + high) / 2))
