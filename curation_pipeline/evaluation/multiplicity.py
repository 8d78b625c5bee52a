"""Many comparisons at once: Holm's step-down correction, and two one-sided tests against a margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation_pipeline.bootstrap import one_sided_p
from curation_pipeline.errors import DataError


@dataclass(frozen=True, slots=True)
class Tost:
    """Two one-sided tests of a difference against the margin (Schuirmann, 1987).

    Attributes:
        p_not_worse: p-value of "worse by the margin or more"; small shows non-inferiority.
        p_not_better: p-value of "better by the margin or more".
    """

    p_not_worse: float
    p_not_better: float

    @property
    def p_equivalent(self) -> float:
        """p-value of "different by the margin or more": the larger of the two."""
        return max(self.p_not_worse, self.p_not_better)


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


def tost(ours: np.ndarray, theirs: np.ndarray, margin: float, *, higher: bool = True) -> Tost:
    """Non-inferiority and equivalence of two positive figures, with a margin relative to the baseline's.

    The baseline's own noise moves the margin too: the tests are of ``ours - (1 - margin) theirs`` and of
    ``(1 + margin) theirs - ours``, resample by resample.

    Args:
        ours: (R,) resamples of the model's figure.
        theirs: (R,) resamples of the baseline's, paired.
        margin: share of the baseline's figure, such as .05.
        higher: whether higher is better.
    """
    above, below = one_sided_p(ours - (1.0 - margin) * theirs), one_sided_p((1.0 + margin) * theirs - ours)
    return Tost(above, below) if higher else Tost(below, above)
