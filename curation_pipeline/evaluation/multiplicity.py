"""What a comparison may claim: Holm's correction for many tests, non-inferiority by a margin, and power."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from curation_pipeline.bootstrap import one_sided_p
from curation_pipeline.errors import DataError

_NORMAL = NormalDist()
POWER = 0.8


def holm(p_values: npt.ArrayLike) -> np.ndarray:
    """p-values adjusted by Holm's step-down procedure (1979), which bounds the chance of any false claim of a family.

    The i-th smallest of m is multiplied by m - i + 1 and is never below its predecessor. Nothing is assumed of how the
    tests depend on each other, so items and arms may be shared.

    Args:
        p_values: (m,) in [0, 1]. A comparison that was planned and may not claim anything has the value 1: it stays in
            the family, so that the family does not depend on what was found.

    Returns:
        float64 (m,) in [0, 1], in the order given.

    Raises:
        DataError: when a value is not in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError("Holm's correction needs a vector of p-values in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def non_inferiority_p(ours: np.ndarray, theirs: np.ndarray, margin: float, *, higher: bool = True) -> float:
    """p-value of "worse by the margin or more"; small shows that a positive figure is not inferior.

    The margin is relative to the baseline's figure, whose own noise moves it too: the test is of
    ``ours - (1 - margin) theirs``, resample by resample (``(1 + margin) theirs - ours`` where lower is better).

    Args:
        ours: (R,) resamples of the model's figure.
        theirs: (R,) resamples of the baseline's, paired.
        margin: share of the baseline's figure, such as .05.
        higher: whether higher is better.
    """
    return one_sided_p(ours - (1.0 - margin) * theirs if higher else (1.0 + margin) * theirs - ours)


def smallest_difference(standard_error: float, alpha: float, power: float = POWER, *, sides: int = 2) -> float:
    """The smallest true difference that a test at level `alpha` finds with probability `power`.

    (z(1 - alpha / sides) + z(power)) times the standard error. With one side and a difference of zero it is also the
    smallest margin at which non-inferiority could be shown.

    Args:
        standard_error: of the difference; with few seeds an estimate of few numbers, so read it as an order of size.
        alpha: level of the test; the level that the correction for many comparisons leaves.
        power: wanted probability.
        sides: 1 or 2.

    Raises:
        DataError: when a probability is not inside (0, 1), or the standard error is negative.
    """
    if not (0 < alpha < 1 and 0 < power < 1 and standard_error >= 0):
        raise DataError(
            f"power needs 0 < alpha, power < 1 and a standard error, got {alpha}, {power}, {standard_error}"
        )
    return (_NORMAL.inv_cdf(1 - alpha / sides) + _NORMAL.inv_cdf(power)) * standard_error
