"""Whether a score treats texts about each group alike: AUROC by subgroup, calibration, false positives, swaps.

The three areas are those of Borkan et al. (2019), "Nuanced metrics for measuring unintended bias":

    subgroup AUC  texts of the group alone: can harm within the group be told apart?
    BPSN AUC      background positives, subgroup negatives: low where harmless texts about the group score like harm.
    BNSP AUC      background negatives, subgroup positives: low where harm against the group scores like harmless text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.reward.metrics import Metric, auroc, bootstrap, expected_calibration_error

BIN_TEXTS = 50
"""Texts that a bin of a group's calibration error holds at least: with fewer the error measures noise."""
LEAST_GROUP = 50

FAIRNESS_SCHEMA: dict[str, pl.DataType] = {
    "metric": pl.Utf8(),
    "group": pl.Utf8(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
}


def subgroup_auc(scores: np.ndarray, labels: np.ndarray, in_group: np.ndarray) -> float:
    """AUROC within the group; NaN where a class is missing."""
    return auroc(scores[in_group], labels[in_group])


def bpsn_auc(scores: np.ndarray, labels: np.ndarray, in_group: np.ndarray) -> float:
    """AUROC of background positives against subgroup negatives; NaN where either is missing."""
    rows = np.where(in_group, labels < 0.5, labels > 0.5)
    return auroc(scores[rows], labels[rows])


def bnsp_auc(scores: np.ndarray, labels: np.ndarray, in_group: np.ndarray) -> float:
    """AUROC of subgroup positives against background negatives; NaN where either is missing."""
    rows = np.where(in_group, labels > 0.5, labels < 0.5)
    return auroc(scores[rows], labels[rows])


AREAS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "subgroup_auc": subgroup_auc,
    "bpsn_auc": bpsn_auc,
    "bnsp_auc": bnsp_auc,
}


def _on_rows(
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float], p: np.ndarray, y: np.ndarray, inside: np.ndarray
) -> Metric:
    """An area as a metric of row numbers, so that a bootstrap resamples texts together with their membership."""

    def of_rows(rows: np.ndarray, _: np.ndarray) -> float:
        at = rows.astype(np.int64)
        return measure(p[at], y[at], inside[at])

    return of_rows


def _ece_in(bins: int) -> Metric:
    return lambda p, y: expected_calibration_error(p, y, bins)


def _gap(p: np.ndarray, y: np.ndarray) -> float:
    return float((p - y).mean())


def group_bins(n: int, bins: int = 10) -> int:
    """Bins of the calibration error of a group of n texts: at most ``bins``, each of `BIN_TEXTS` or more."""
    return max(1, min(bins, n // BIN_TEXTS))


def fairness_table(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | pl.Series,
    seed: int,
    *,
    background: str = "none",
    resamples: int = 200,
) -> pl.DataFrame:
    """Areas and calibration error of every group with enough texts.

    Args:
        probabilities: (n,) P(harm).
        labels: (n,) in [0, 1].
        groups: n names; null or ``background`` is no group.
        seed: for the bootstrap.
        background: name of texts that mention no group. They have a calibration error and no areas.
        resamples: of the bootstrap.

    Returns:
        Rows of ``FAIRNESS_SCHEMA`` for groups of `LEAST_GROUP` texts or more, metrics ``subgroup_auc``, ``bpsn_auc``,
        ``bnsp_auc``, ``ece`` and ``calibration_gap`` (mean probability minus mean label; above 0 the group is seen as
        more harmful than it is). Areas of a group are resampled over all texts, errors over its own.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    name = np.array([background if value is None else str(value) for value in groups])
    if not len(p) == len(y) == len(name):
        raise DataError(f"fairness: {len(p)} probabilities, {len(y)} labels and {len(name)} groups do not match")
    rows: list[tuple[str, str, float, float, float, int]] = []
    for group in sorted(set(name.tolist())):
        inside = name == group
        n = int(inside.sum())
        if n < LEAST_GROUP:
            continue
        if group != background and n < len(name):
            for metric, measure in AREAS.items():
                found = bootstrap(_on_rows(measure, p, y, inside), np.arange(len(p)), y, seed, resamples)
                if np.isfinite(found.value):
                    rows.append((metric, group, found.value, found.low, found.high, n))
        error = bootstrap(_ece_in(group_bins(n)), p[inside], y[inside], seed, resamples)
        rows.append(("ece", group, error.value, error.low, error.high, n))
        gap = bootstrap(_gap, p[inside], y[inside], seed, resamples)
        rows.append(("calibration_gap", group, gap.value, gap.low, gap.high, n))
    return pl.DataFrame(rows, schema=FAIRNESS_SCHEMA, orient="row")
