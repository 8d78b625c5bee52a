"""Curves of the policy's training, one line for each iteration."""

from __future__ import annotations

import polars as pl
from markupsafe import Markup

from curation_pipeline.report.html import grid, join, legend
from curation_pipeline.report.plots import curves
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section

LEARNING = ReportTable("learning", {"ordinal": int, "step": int, "quantity": str, "value": float})
QUANTITIES = ("mean_reward", "entropy", "approx_kl", "explained_variance", "clip_fraction", "price")


def query(source: ReportSource) -> dict[str, Rows]:
    """One row for each quantity and rollout of every policy's training."""
    frames = [
        source.lake.frame(policy, "learning_curve")
        .select(pl.col("candidates").alias("step"), *(pl.col(name).cast(pl.Float64) for name in QUANTITIES))
        .unpivot(QUANTITIES, index="step", variable_name="quantity", value_name="value")
        .drop_nulls()
        .with_columns(pl.lit(ordinal, pl.Int64).alias("ordinal"))
        for ordinal, policy in source.made("policies")
    ]
    return {"learning": pl.concat(frames) if frames else None}


def show(data: ReportData) -> Markup:
    """One plot for each quantity."""
    learning = data.table(LEARNING).filter(pl.col("value").is_finite())
    order = [f"iteration {ordinal}" for ordinal in learning["ordinal"].unique().sort()]
    named = learning.with_columns(iteration=pl.format("iteration {}", "ordinal"))
    plots = [
        curves(
            named.filter(pl.col("quantity") == quantity),
            "step",
            "iteration",
            quantity.replace("_", " "),
            f"learning-{index}",
            order=order,
            label="candidates seen",
            size=(3.4, 2.2),
        )
        for index, quantity in enumerate(named["quantity"].unique(maintain_order=True))
    ]
    return join(legend(order), grid(plots))


SECTION = Section(110, "learning", "How the policy learned", show, (LEARNING,), query)
