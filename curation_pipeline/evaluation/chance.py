"""Which metrics are at chance level: what a model that knows nothing would score, so that no claim rests on it.

Multiple choice has its chance level as the row ``chance``; elsewhere it follows from the metric. It is not the same
as an ideal: one half is ideal for the share of stereotypes that a model prefers, and a model that tells nothing apart
reaches it. Such a share is therefore marked where the score that shows whether the model understands the items at all
is itself at chance; CrowS-Pairs has no such score, and no claim rests on it.
"""

from __future__ import annotations

import polars as pl

from curation_pipeline.evaluation.registry import all_benchmarks

CHANCE_METRIC = "chance"
_SHUFFLED = "_chance"
"""Ending of the metric that says what a gap between groups is with the groups shuffled."""
_ACCURACIES = ("accuracy", "acc", "acc_norm")
_ENDS = ("low", "high")
_FAMILY = pl.col("metric").str.split("/").list.first()


def with_chance(metrics: pl.DataFrame) -> pl.DataFrame:
    """The metrics table with two columns more.

    ``chance`` is the score of guessing, null where there is none; of a gap between groups, the gap of shuffled groups.
    ``at_chance`` is true where the interval does not lie on chance's better side, where a gap is not above nearly all
    shuffled ones, or where the metric leans on another that is at chance; null where none of these applies.

    Args:
        metrics: one evaluation, or several that a column ``chain`` and ``ordinal`` tell apart.
    """
    keys = [name for name in ("chain", "ordinal") if name in metrics.columns]
    own = metrics.filter(pl.col("metric") == CHANCE_METRIC).select(*keys, "benchmark", pl.col("value").alias("_b"))
    declared = all_benchmarks()
    levels = [{"benchmark": b.name, "_family": name, "_l": level} for b in declared for name, level in b.chance.items()]
    leans = [
        {"benchmark": b.name, "_family": name, "_on": on} for b in declared for name, on in b.understood_by.items()
    ]
    known, leaning = pl.DataFrame(levels), pl.DataFrame(leans)
    frame = metrics.with_columns(_family=_FAMILY)
    for table, on in (
        (own.unique([*keys, "benchmark"]), [*keys, "benchmark"]),
        (known, ["benchmark", "_family"]),
        (leaning, ["benchmark", "_family"]),
    ):
        frame = frame.join(table, on=on, how="left", maintain_order="left")
    shuffled = metrics.filter(pl.col("metric").str.ends_with(_SHUFFLED)).select(
        *keys,
        "benchmark",
        pl.col("metric").str.strip_suffix(_SHUFFLED),
        pl.col("value").alias("_gap"),
        pl.col("ci_high").alias("_gap_high"),
    )
    frame = frame.join(shuffled, on=[*keys, "benchmark", "metric"], how="left", maintain_order="left")
    guess = pl.when(pl.col("_family").is_in(_ACCURACIES)).then("_b").fill_null(pl.col("_l")).fill_null(pl.col("_gap"))
    better, low, high = pl.col("higher_is_better"), *(pl.col(f"ci_{e}").fill_null(pl.col("value")) for e in _ENDS)
    frame = frame.with_columns(chance=guess).with_columns(
        _own=pl.when(pl.col("_gap_high").is_not_null())
        .then(pl.col("value") <= pl.col("_gap_high"))
        .when(better)
        .then(low <= pl.col("chance"))
        .otherwise(high >= pl.col("chance"))
    )
    others = frame.select(*keys, "benchmark", pl.col("metric").alias("_on"), pl.col("_own").alias("_leans"))
    others = others.unique([*keys, "benchmark", "_on"])
    frame = frame.join(others, on=[*keys, "benchmark", "_on"], how="left", maintain_order="left")
    at_chance = pl.max_horizontal("_own", "_leans").alias("at_chance")
    return frame.with_columns(at_chance).select(*metrics.columns, "chance", "at_chance")
