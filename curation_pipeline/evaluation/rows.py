"""Rows of the metrics table, and the frame they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Interval

Axis = Literal["safety", "alignment", "bias", "capability", "diversity"]

METRICS_SCHEMA: dict[str, pl.DataType] = {
    "benchmark": pl.Utf8(),
    "metric": pl.Utf8(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
    "judge": pl.Utf8(),
    "seed": pl.Int64(),
    "axis": pl.Utf8(),
    "higher_is_better": pl.Boolean(),
}

ITEMS_SCHEMA: dict[str, pl.DataType] = {
    "benchmark": pl.Utf8(),
    "metric": pl.Utf8(),
    "part": pl.Int32(),
    "place": pl.Int32(),
    "numerator": pl.Float64(),
    "denominator": pl.Float64(),
}
"""One row for each item of a metric: the metric is the mean over parts of sum(numerator) / sum(denominator). Two
evaluations with one seed, one set of items and one profile have the same item at the same place."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: a benchmark's metric with its interval and the direction in which it is good."""

    benchmark: str
    metric: str
    interval: Interval
    axis: Axis
    higher_is_better: bool
    judge: str | None = None


def metrics_frame(rows: list[Metric], seed: int) -> pl.DataFrame:
    """The metrics table of one evaluation."""
    return pl.DataFrame(
        [
            {
                "benchmark": row.benchmark,
                "metric": row.metric,
                "value": row.interval.value,
                "ci_low": None if np.isnan(row.interval.low) else row.interval.low,
                "ci_high": None if np.isnan(row.interval.high) else row.interval.high,
                "n": row.interval.n,
                "judge": row.judge,
                "seed": seed,
                "axis": row.axis,
                "higher_is_better": row.higher_is_better,
            }
            for row in rows
        ],
        schema=METRICS_SCHEMA,
    )


def items_frame(rows: list[Metric]) -> pl.DataFrame:
    """The items behind every metric that is a mean of items, in `ITEMS_SCHEMA`; what pairs two evaluations."""
    frames = [
        pl.DataFrame(
            {
                "benchmark": row.benchmark,
                "metric": row.metric,
                "part": part,
                "place": np.arange(numerator.size),
                "numerator": np.asarray(numerator, dtype=np.float64),
                "denominator": np.asarray(denominator, dtype=np.float64),
            },
            schema=ITEMS_SCHEMA,
        )
        for row in rows
        for part, (numerator, denominator) in enumerate(row.interval.groups)
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema=ITEMS_SCHEMA)
