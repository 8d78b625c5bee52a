"""Do judge and teacher still say the same? They must differ as detectors, and must not part as the loop runs.

Nothing here enters the reward: the judge never teaches. Where its flag rate stays behind the teacher's as iterations
pass, the policy has learned to please the teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import rankdata

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.errors import DataError

Z = 1.96
SCHEMA: dict[str, pl.DataType] = {
    "what": pl.Utf8(), "measure": pl.Utf8(), "value": pl.Float64(), "ci_low": pl.Float64(), "ci_high": pl.Float64(),
    "n": pl.Int64(),
}  # fmt: skip
GAP, CORRELATION = "flag_rate_gap", "rank_correlation"


def divergence(what: str, teacher: np.ndarray, judge: np.ndarray, flag: float = HARM_THRESHOLD) -> pl.DataFrame:
    """Rank correlation and gap of the flag rates of two detectors on the same texts, with 95% intervals.

    The correlation is Spearman's with the interval of Bonett and Wright (2000). The gap is the judge's share of flagged
    texts minus the teacher's, with the paired interval of Agresti and Min (2005).

    Args:
        what: what the texts are, such as ``generations``.
        teacher: (n,) the teacher's scores in [0, 1].
        judge: (n,) the judge's scores in [0, 1].
        flag: score at or above which a text counts as flagged.

    Returns:
        Rows of `SCHEMA`, one a measure; the correlation is null where one side does not vary, and both where n < 4.

    Raises:
        DataError: the lengths differ or a score is not finite: a detector failed.
    """
    t, j = np.asarray(teacher, dtype=np.float64), np.asarray(judge, dtype=np.float64)
    if t.shape != j.shape or not (np.isfinite(t).all() and np.isfinite(j).all()):
        raise DataError(f"{what}: {t.shape} scores of the teacher, {j.shape} of the judge, all must be finite")
    n = t.size
    rows: list[tuple[str, str, float | None, float | None, float | None, int]] = []
    correlation: tuple[float | None, float | None, float | None] = (None, None, None)
    gap: tuple[float | None, float | None, float | None] = (None, None, None)
    if n >= 4:
        if np.ptp(t) > 0 and np.ptp(j) > 0:
            r = float(np.corrcoef(rankdata(t), rankdata(j))[0, 1])
            spread = Z * math.sqrt((1.0 + r * r / 2.0) / (n - 3))
            z = math.atanh(min(max(r, -0.999999), 0.999999))
            correlation = (r, math.tanh(z - spread), math.tanh(z + spread))
        only_judge = float(((j >= flag) & (t < flag)).sum())
        only_teacher = float(((t >= flag) & (j < flag)).sum())
        b, c, m = only_judge + 0.5, only_teacher + 0.5, n + 2.0
        half = Z * math.sqrt(max(b + c - (b - c) ** 2 / m, 0.0)) / m
        middle = (b - c) / m
        gap = ((only_judge - only_teacher) / n, max(-1.0, middle - half), min(1.0, middle + half))
    for measure, (value, low, high) in ((CORRELATION, correlation), (GAP, gap)):
        rows.append((what, measure, value, low, high, n))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@dataclass(frozen=True, slots=True)
class Trend:
    """How a gap went over the iterations.

    Attributes:
        first, last: |gap| of the first and the last iteration.
        slope: change of the gap an iteration, weighted least squares; ``low``, ``high``: its 95% interval.
        iterations: how many.
    """

    first: float
    last: float
    slope: float
    low: float
    high: float
    iterations: int

    @property
    def widening(self) -> float:
        """How much further judge and teacher stand apart than at first."""
        return self.last - self.first

    def widened(self, limit: float) -> bool:
        """Whether the gap grew by more than the setting allows; one iteration shows no trend."""
        return self.iterations > 1 and self.widening > limit


def trend(ordinals: list[int], gaps: list[float], lows: list[float], highs: list[float]) -> Trend | None:
    """The trend of a gap over iterations; None without any.

    Args:
        ordinals: the iterations, increasing.
        gaps: the gap in each.
        lows: lower ends of their 95% intervals, whose widths weigh them.
        highs: upper ends.
    """
    if not gaps:
        return None
    x, y = np.array(ordinals, dtype=np.float64), np.array(gaps, dtype=np.float64)
    variance = np.maximum((np.array(highs) - np.array(lows)) / (2 * Z), 1e-6) ** 2
    w = 1.0 / variance
    centred = x - np.average(x, weights=w)
    scale = float((w * centred**2).sum())
    slope = float((w * centred * y).sum()) / scale if scale > 0 else 0.0
    half = Z / math.sqrt(scale) if scale > 0 else math.inf
    return Trend(abs(gaps[0]), abs(gaps[-1]), slope, slope - half, slope + half, len(gaps))
