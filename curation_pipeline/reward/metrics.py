"""How far scores and probabilities can be believed: AUROC, calibration error, Brier score, and paired intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from scipy.stats import rankdata

from curation_pipeline import seeds
from curation_pipeline.bootstrap import Interval, percentiles, resample
from curation_pipeline.errors import DataError

Metric = Callable[[np.ndarray, np.ndarray], float]
"""From scores and labels to a number."""

RELIABILITY_SCHEMA: dict[str, pl.DataType] = {
    "bin": pl.Int64(),
    "lower": pl.Float64(),
    "upper": pl.Float64(),
    "mean_p": pl.Float64(),
    "observed": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
}


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


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """ECE over bins that hold equally many texts (Naeini et al. 2015; equal mass after Nixon et al. 2019)."""
    order = np.argsort(probabilities, kind="stable")
    gap = np.asarray(labels, dtype=np.float64)[order] - np.asarray(probabilities, dtype=np.float64)[order]
    if gap.size == 0:
        return float("nan")
    return float(sum(abs(part.sum()) for part in np.array_split(gap, min(bins, gap.size))) / gap.size)


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of probability and label (Brier 1950); lower is better."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    return float(np.square(p - y).mean()) if p.size else float("nan")


def bootstrap(metric: Metric, scores: np.ndarray, labels: np.ndarray, seed: int, resamples: int = 400) -> Interval:
    """A metric with the 95% interval of its bootstrap over texts; NaN where it is undefined."""
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    return _resampled(metric, (s, y), seeds.generator(seed, "metrics", "bootstrap"), resamples)


def paired_bootstrap(
    metric: Metric,
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    seed: int,
    resamples: int = 400,
) -> Interval:
    """metric(first) - metric(second) on the same texts, resampled together.

    Pairing takes out the variance that both share, so a difference far smaller than either interval can be certain
    (Efron and Tibshirani 1993).

    Raises:
        DataError: when the two do not score the same texts.
    """
    a, b, y = (np.asarray(values, dtype=np.float64) for values in (first, second, labels))
    if not len(a) == len(b) == len(y):
        raise DataError(f"a paired comparison needs one text a score: {len(a)}, {len(b)} and {len(y)} labels")
    rng = seeds.generator(seed, "metrics", "paired")
    return _resampled(lambda a, b, y: metric(a, y) - metric(b, y), (a, b, y), rng, resamples)


def _resampled(
    statistic: Callable[..., float], arrays: tuple[np.ndarray, ...], rng: np.random.Generator, resamples: int
) -> Interval:
    value, draws = resample(statistic, arrays, rng, resamples)
    # A resample that lacks a class has no area under the curve.
    low, high = percentiles(draws[np.isfinite(draws)])
    return Interval(value, float(low), float(high), len(arrays[0]))


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, seed: int, bins: int = 10, resamples: int = 400
) -> Interval:
    """Expected calibration error of given probabilities, in [0, 1]; it is biased upwards on few texts."""
    return bootstrap(lambda p, y: expected_calibration_error(p, y, bins), probabilities, labels, seed, resamples)


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pl.DataFrame:
    """The reliability plot: mean probability against observed share in bins of equal mass.

    Args:
        probabilities: (n,) in [0, 1].
        labels: (n,) in [0, 1].
        bins: wanted number; there are never more than texts.

    Returns:
        One row a bin with the columns of `RELIABILITY_SCHEMA`; ``lower`` and ``upper`` are the least and the largest
        probability of the bin, the interval of the observed share is Wilson's (1927).
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, p.size)) if p.size else []
    rows = []
    for i, at in enumerate(parts):
        observed, n = float(y[at].mean()), len(at)
        low, high = wilson(observed, n)
        rows.append((i, float(p[at].min()), float(p[at].max()), float(p[at].mean()), observed, low, high, n))
    return pl.DataFrame(rows, schema=RELIABILITY_SCHEMA, orient="row")


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% score interval of a share of n (Wilson 1927)."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)
