"""Calibration per group with shrinkage: how far the probability of each group of texts has to move on the logit scale.

A probability that is right on average can be wrong for everyone who is named: identity groups are over-predicted while
the rest is under-predicted (Pleiss et al. 2017; Hebert-Johnson et al. 2018). Fitting each group alone would chase the
noise of small groups. So each group's shift is a random effect, a ~ N(0, sigma^2) within its column, and sigma is found
from the labels (empirical Bayes, Morris 1983; here by EM with the Laplace approximation): where groups do not differ
beyond chance, sigma becomes small and so do all shifts. With a handful of groups the most likely sigma is often exactly
0 even when they do differ; the boundary-avoiding prior p(sigma) ~ sigma of Chung et al. (2013) keeps it off.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from curation_pipeline.reward.calibration import FINE_EDGE, safe_logit
from curation_pipeline.reward.corrections import Corrections

START_VARIANCE = 0.25
LEAST_VARIANCE = 1e-4


def fit_group_shifts(
    probabilities: np.ndarray,
    labels: np.ndarray,
    columns: Mapping[str, np.ndarray],
    background: np.ndarray | None = None,
    rounds: int = 60,
) -> Corrections:
    """Shifts of the logit, added up over columns.

    Args:
        probabilities: (n,) of the score's own cause, calibrated over all texts.
        labels: (n,) in [0, 1].
        columns: name -> (n,) group of each text as str; an empty string is no group and stays unshifted.
        background: (n,) probability that a label is positive for another reason, or None for 0.
        rounds: of the EM iteration.

    Returns:
        Corrections by column and group; groups whose shift is below .01 are left out.
    """
    y, z = np.asarray(labels, dtype=np.float64), safe_logit(probabilities, FINE_EDGE)
    clear = 1.0 - (np.zeros_like(y) if background is None else np.clip(background, 0.0, 1.0 - FINE_EDGE))
    names: list[tuple[str, str]] = []
    of_column: list[int] = []
    design: list[np.ndarray] = []
    for number, (column, values) in enumerate(columns.items()):
        for value in sorted(set(values.tolist()) - {""}):
            names.append((column, value))
            of_column.append(number)
            design.append(values == value)
    if not names or not len(y):
        return Corrections()
    x, column_of = np.column_stack(design).astype(np.float64), np.array(of_column)
    variance = np.full(len(columns), START_VARIANCE)
    shift = np.zeros(len(names))
    for _ in range(rounds):
        precision = 1.0 / variance[column_of]
        for _ in range(4):  # Fisher scoring, with steps short enough for curves that are flat at both ends
            s = expit(z + x @ shift)
            p = np.clip(1.0 - (1.0 - s) * clear, 1e-9, 1.0 - 1e-9)
            slope = s * (1.0 - s) * clear
            score = x.T @ (slope * (y - p) / (p * (1.0 - p))) - precision * shift
            information = (x * (slope**2 / (p * (1.0 - p)))[:, None]).T @ x + np.diag(precision)
            shift = shift + np.clip(np.linalg.solve(information, score), -0.5, 0.5)
        spread = shift**2 + np.diag(np.linalg.inv(information))
        sums, counts = (np.bincount(column_of, w, len(columns)) for w in (spread, None))
        after = np.maximum(sums / np.maximum(counts - 1, 1), LEAST_VARIANCE)
        settled = bool(np.abs(np.log(after / variance)).max() < 0.01)
        variance = after
        if settled:
            break
    found: dict[str, dict[str, float]] = {}
    for (column, value), amount in zip(names, shift.tolist(), strict=True):
        if abs(amount) >= 0.01:
            found.setdefault(column, {})[value] = round(amount, 6)
    return Corrections(found)
