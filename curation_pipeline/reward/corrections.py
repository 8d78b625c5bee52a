"""Corrections of P(harm) by stratum: what audits and constraints found wrong with the detectors on a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.reward.calibration import safe_logit


@dataclass(frozen=True, slots=True)
class Corrections:
    """Shifts of the logit of P(harm), by column and value.

    Attributes:
        shifts: column of the pool (such as ``source`` or ``identity_group``) -> value -> shift of the logit; above 0
            means that the detectors miss harm there, below 0 that they see harm where there is none.
    """

    shifts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def apply(self, p_harm: np.ndarray, documents: pl.DataFrame) -> np.ndarray:
        """Corrected probabilities, float64 (n,); a column that ``documents`` lacks corrects nothing.

        Args:
            p_harm: (n,) in [0, 1].
            documents: n rows with the columns of ``shifts``.
        """
        total = np.zeros(len(p_harm))
        for column, by_value in self.shifts.items():
            if column in documents.columns:
                values = (
                    documents[column].cast(pl.Utf8).replace_strict(dict(by_value), default=0.0, return_dtype=pl.Float64)
                )
                total += values.to_numpy()
        p = np.asarray(p_harm, dtype=np.float64)
        return np.where(total == 0.0, p, 1.0 / (1.0 + np.exp(-(safe_logit(p) + total))))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries."""
        return {column: dict(values) for column, values in self.shifts.items()}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Corrections:
        """The inverse of ``to_json``."""
        return Corrections({column: {k: float(v) for k, v in values.items()} for column, values in raw.items()})
