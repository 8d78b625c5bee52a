"""Corrections of P(harm) from the labels of audit batches, by inverse-propensity weighting.

With p_i the uncorrected P(harm) of document i, s its shift (the sum over its source and its identity group), y_i its
label and pi_i the probability that it was drawn with, the shifts maximise

    sum_i w_i [y_i log q_i + (1 - y_i) log(1 - q_i)] - sum_k s_k^2 / (2 sd^2),      q_i = sigmoid(logit p_i + s),

w_i in proportion to 1 / pi_i (Horvitz and Thompson 1952). In each stratum the score equation then says that the sum of
corrected probabilities over the *pool* equals its estimated number of harmful documents, up to the pull of the prior
towards 0, whatever the design preferred to draw. The weights sum to the effective number of labels (Kish 1965), so that
labels of unequal weight do not pass for more than they are. Intervals are 95%, from the sandwich variance (Huber 1967).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import expit

from curation_pipeline.errors import DataError
from curation_pipeline.reward.audit_design import STRATA
from curation_pipeline.reward.calibration import safe_logit
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.refinement_settings import AuditSettings

Z = 1.96


@dataclass(frozen=True, slots=True)
class StratumShift:
    """What the labels say of one stratum.

    Attributes:
        column, value: the stratum.
        shift: of the logit of P(harm), shrunk towards 0; ``low``, ``high``: its 95% interval.
        labels: audited documents of it; ``harmful``: the weighted share of harm among them.
        predicted: the weighted mean of the uncorrected P(harm) of the same documents.
    """

    column: str
    value: str
    shift: float
    low: float
    high: float
    labels: int
    harmful: float
    predicted: float

    @property
    def reason(self) -> str:
        """In words."""
        found = f"audit of {self.labels} documents of {self.column} {self.value}: {self.harmful:.1%} harmful"
        told = f"the detectors say {self.predicted:.1%}"
        if self.low > 0:
            verdict = "they miss harm there"
        elif self.high < 0:
            verdict = "they see harm where there is none"
        else:
            verdict = "no more than chance would do"
        return f"{found}, {told}: {verdict} (shift {self.shift:+.2f}, {self.low:+.2f} to {self.high:+.2f})"


def recalibrate(labels: pl.DataFrame, settings: AuditSettings) -> list[StratumShift]:
    """The shifts that the labels of one or several audit batches ask for.

    Args:
        labels: one row an audited document: label in [0, 1], probability in (0, 1], p_harm without corrections,
            source, identity_group. Batches of several iterations may be stacked; a document that was drawn in several
            counts each time.
        settings: ``min_labels`` and ``prior_sd``.

    Returns:
        One entry a stratum with labels enough, in order of column and value; empty without labels.

    Raises:
        DataError: a label or a probability lies outside of its range.
    """
    if labels.is_empty():
        return []
    y, pi = (labels[name].cast(pl.Float64).to_numpy() for name in ("label", "probability"))
    if not (np.isfinite(y).all() and y.min() >= 0 and y.max() <= 1 and pi.min() > 0 and pi.max() <= 1):
        raise DataError(
            f"audit labels must lie in [0, 1] and their probabilities in (0, 1]; found labels {y.min()} to {y.max()} "
            f"and probabilities {pi.min()} to {pi.max()}"
        )
    weight = 1.0 / pi
    weight *= weight.sum() / (weight**2).sum()  # they sum to the effective number of labels
    strata, design = _design(labels, settings.min_labels)
    if not strata:
        return []
    offset = safe_logit(labels["p_harm"].cast(pl.Float64).to_numpy())
    shift, spread = _fit(design, offset, y, weight, settings.prior_sd)
    predicted = expit(offset)
    found = []
    for index, (column, value) in enumerate(strata):
        inside = design[:, index] > 0
        harmful, told = (float(np.average(x[inside], weights=weight[inside])) for x in (y, predicted))
        s, e = float(shift[index]), Z * float(spread[index])
        found.append(StratumShift(column, value, s, s - e, s + e, int(inside.sum()), harmful, told))
    return found


def _design(labels: pl.DataFrame, min_labels: int) -> tuple[list[tuple[str, str]], np.ndarray]:
    strata: list[tuple[str, str]] = []
    columns: list[np.ndarray] = []
    for column in STRATA:
        values = labels[column].cast(pl.Utf8)
        for value in sorted(values.unique().to_list()):
            inside = (values == value).to_numpy()
            if inside.sum() >= min_labels:
                strata.append((column, value))
                columns.append(inside.astype(np.float64))
    return strata, np.column_stack(columns) if columns else np.empty((labels.height, 0))


def _fit(
    design: np.ndarray, offset: np.ndarray, y: np.ndarray, w: np.ndarray, prior_sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (k,) and their standard errors (k,), by Newton's method with halved steps."""
    k = design.shape[1]
    precision = np.eye(k) / prior_sd**2

    def loss(s: np.ndarray) -> float:
        z = offset + design @ s
        return float((w * (np.logaddexp(0.0, z) - y * z)).sum() + 0.5 * s @ precision @ s)

    s = np.zeros(k)
    hessian = precision
    for _ in range(100):
        q = expit(offset + design @ s)
        gradient = design.T @ (w * (q - y)) + precision @ s
        hessian = (design * (w * q * (1.0 - q))[:, None]).T @ design + precision
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while loss(s - length * step) > loss(s) + 1e-12 and length > 1e-6:
            length /= 2
        s = s - length * step
        if np.abs(step).max() < 1e-9:
            break
    q = expit(offset + design @ s)
    scores = design * (w * (y - q))[:, None]
    inverse = np.linalg.inv(hessian)
    # The prior's own share keeps the interval from closing where all labels of a stratum agree.
    variance = np.diag(inverse @ (scores.T @ scores + precision) @ inverse)
    return s, np.sqrt(np.maximum(variance, 0.0))


def as_corrections(found: list[StratumShift]) -> Corrections:
    """The shifts as corrections."""
    shifts: dict[str, dict[str, float]] = {}
    for entry in found:
        shifts.setdefault(entry.column, {})[entry.value] = entry.shift
    return Corrections(shifts)
