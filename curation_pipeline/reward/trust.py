"""How far a teacher is trusted, from what the red team measured about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError

SENSITIVITIES: tuple[str, ...] = ("evasion", "identity_gap", "identity_swap", "dialect_swap")
"""Measures that lower trust; every one is in [0, 1] and 0 is best."""
AUDIT_COLUMNS: tuple[str, ...] = ("detector", "measure", "value", "ci_high")


@dataclass(frozen=True, slots=True)
class Trust:
    """What the audit says about one teacher.

    Attributes:
        weight: in (0, 1], 1 = nothing held against it.
        evasion: share of disguised harm that escapes it, in [0, 1], at the upper end of its interval.
    """

    weight: float
    evasion: float


NO_AUDIT: Mapping[str, Trust] = {}


def trust_of(audit: pl.DataFrame, teachers: tuple[str, ...], audit_weight: float) -> dict[str, Trust]:
    """Trust of each teacher that was audited; those that were not are missing.

    weight = 1 / (1 + audit_weight x sum of its sensitivities), each the mean over the families of its measure. The
    evasion is taken at the upper end of its interval: it is a penalty for what is not known.

    Args:
        audit: rows with `AUDIT_COLUMNS`, as the red team returns them; ``ci_high`` may be null.
        teachers: names of the teacher columns.
        audit_weight: 0 trusts all teachers alike.

    Raises:
        DataError: when a column is missing.
    """
    missing = [name for name in AUDIT_COLUMNS if name not in audit.columns]
    if missing:
        raise DataError(f"the detectors' audit lacks {', '.join(missing)}; run the red team again")
    found: dict[str, Trust] = {}
    for name in teachers:
        own = audit.filter(pl.col("detector") == name)
        if own.is_empty():
            continue
        total, evasion = 0.0, 0.0
        for measure in SENSITIVITIES:
            rows = own.filter(pl.col("measure") == measure)
            value = _mean(rows["value"])
            total += value
            if measure == "evasion":
                upper = rows.select(pl.max_horizontal("value", pl.col("ci_high").fill_nan(None))).to_series()
                evasion = _mean(upper)
        found[name] = Trust(1.0 / (1.0 + audit_weight * total), evasion)
    return found


def _mean(values: pl.Series) -> float:
    known = values.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
    return float(np.clip(known.mean(), 0.0, 1.0)) if known.size else 0.0
