"""Maximum a posteriori of a linear head from labels of single texts and from choices between two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """What a head is fitted on.

    Attributes:
        x: (n, d) features of single texts.
        positive, negative: (n,) mass of each text's positive and negative share.
        difference: (m, d) features of the preferred minus those of the dispreferred text; the intercept cancels.
        weight: (m,) of the pairs.
    """

    x: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    difference: np.ndarray
    weight: np.ndarray


def fit_head(data: TrainingRows, *, n_bounded: int, l2: float) -> tuple[np.ndarray, float]:
    """Coefficients u and intercept b of the least penalised loss.

    With z_i = x_i'u + b, minimised is

        sum_i [positive_i ln(1 + e^-z_i) + negative_i ln(1 + e^z_i)]         (logistic)
      + sum_j weight_j ln(1 + e^(-difference_j'u))                           (Bradley-Terry)
      + l2/2 |u|^2.

    Args:
        data: labels and pairs.
        n_bounded: the last that many coefficients are kept at 0 or below.
        l2: precision of the prior, above 0. The bounded features are scaled to standard deviation 1 for it.
    """
    x, difference = data.x, data.difference
    positive, weight = data.positive, data.weight
    d = x.shape[1]
    scale = np.ones(d)
    if n_bounded:
        spread = x[:, d - n_bounded :].std(axis=0)
        scale[d - n_bounded :] = np.where(spread > 0, spread, 1.0)
    rows, gaps, mass = x / scale, difference / scale, positive + data.negative

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        coef = parameters[:-1]
        z, g = rows @ coef + parameters[-1], gaps @ coef
        value = (mass * np.logaddexp(0.0, z) - positive * z).sum() + (weight * np.logaddexp(0.0, -g)).sum()
        error = mass * expit(z) - positive
        gradient = error @ rows - (weight * expit(-g)) @ gaps + l2 * coef
        return float(value + 0.5 * l2 * coef @ coef), np.append(gradient, error.sum())

    bounds = [(None, None)] * (d - n_bounded) + [(None, 0.0)] * n_bounded + [(None, None)]
    found = minimize(
        loss, np.zeros(d + 1), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "maxfun": 4000}
    ).x
    return found[:-1] / scale, float(found[-1])


def held_out_loss(data: TrainingRows, coef: np.ndarray, intercept: float) -> float:
    """The loss of `fit_head` without its prior, on rows that the head was not fitted on."""
    z, g = data.x @ coef + intercept, data.difference @ coef
    mass = data.positive + data.negative
    singles = (mass * np.logaddexp(0.0, z) - data.positive * z).sum()
    return float(singles + (data.weight * np.logaddexp(0.0, -g)).sum())
