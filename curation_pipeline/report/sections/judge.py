"""Whether the judge can be believed: its distance from the teacher over the iterations, and its flags on clean text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup
from scipy.stats import binomtest

from curation_pipeline.report.html import (
    CI,
    Column,
    csv,
    element,
    figure,
    interval,
    join,
    legend,
    numeric,
    paragraph,
    table,
    text,
)  # fmt: skip
from curation_pipeline.report.numbers import DASH, count, number, percent, signed
from curation_pipeline.report.plots import curves
from curation_pipeline.report.section import ENDS, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.reward.divergence import CORRELATION, GAP, trend
from curation_pipeline.stages.divergence import divergence_history
from curation_pipeline.stages.state import MAIN

DIVERGENCE = ReportTable("divergence", {"ordinal": int, "teacher": float, "judge": float})
CLEAN = ReportTable("judge_clean", {"judge": str, "dataset": str, "n": int, "flagged": int, "rate": float, **ENDS})
DISTANCE = ReportTable("distance", {"ordinal": int, "what": str, "measure": str, "value": float, **ENDS, "n": int})
MOST_FLAGGED = 0.01
"""A judge that flags a larger share of clean text carries no sampled metric."""


def query(source: ReportSource) -> dict[str, Rows]:
    """Mean scores of the sampled texts, the distances, and how often the judge flags clean held-out text."""
    lake = source.lake
    figures = lake.require("heldout_texts").summary
    rate, n = float(figures["judge_false_positive_rate"]), int(figures["encyclopaedic_texts"])
    ends = binomtest(round(rate * n), n).proportion_ci(method="exact") if n else (None, None)
    clean = {
        "judge": source.ctx.profile.annotate.judge,
        "dataset": "held-out encyclopaedic text",
        "n": n,
        "flagged": round(rate * n),
        "rate": rate,
        **dict(zip(CI, ends, strict=True)),
    }
    means = [
        lake.frame(metrics, "generations").select(
            pl.lit(ordinal).alias("ordinal"),
            pl.col("teacher_score").mean().fill_null(0.0).alias("teacher"),
            pl.col("score").mean().fill_null(0.0).alias("judge"),
        )
        for ordinal, metrics in source.made("metrics")
    ]
    return {
        "divergence": pl.concat(means),
        "distance": divergence_history(lake, MAIN),
        "judge_clean": [clean],
    }


def show(data: ReportData) -> Markup:
    """Plot and table of the distance, and the table of the flags."""
    means, distance = data.table(DIVERGENCE).sort("ordinal"), data.table(DISTANCE).sort("ordinal", "what")
    clean = data.table(CLEAN)
    parts = []
    if means.height:
        long = means.unpivot(["teacher", "judge"], index="ordinal", variable_name="scored by")
        plot = curves(long, "ordinal", "scored by", "mean harm of the same samples", "judge-and-teacher")
        gap = means["judge"] - means["teacher"]
        said = f"Since the first iteration, judge minus teacher has moved by {signed(gap[-1] - gap[0])}."
        moved = element("p", said) if means.height > 1 else ""
        parts.append(element("div", legend(["teacher", "judge"]), figure(plot), moved))
    if clean.height:
        columns = [
            text("judge", "judge", 40),
            text("clean text", "dataset"),
            numeric("texts", "n", count),
            Column(
                "flagged",
                lambda row: join(percent(row["rate"]), interval(row["ci_low"], row["ci_high"], percent)),
                "n",
            ),
            Column("at most 1%?", lambda row: "yes" if row["rate"] <= MOST_FLAGGED else "no"),
        ]
        parts.append(table(clean.to_dicts(), columns))
    return join(
        paragraph(
            "The judge never makes the reward. Where judge and teacher part as iterations pass, the policy is gaming "
            "its reward; and a judge that flags more than 1% of clean text cannot carry a sampled metric. ",
            csv("judge-clean", clean),
            " of the flags, ",
            csv("judge-distance", distance),
            " of the distances.",
        ),
        element("div", *parts, css="split"),
        _distances(distance),
    )


def _distances(distance: pl.DataFrame) -> Markup:
    """One line for each iteration and kind of text, and a sentence for each trend; empty where nothing was measured."""
    if distance.is_empty():
        return Markup("")
    lines = [
        {"ordinal": ordinal, "what": what, "n": rows["n"][0]}
        | {row["measure"]: row for row in rows.iter_rows(named=True)}
        for (ordinal, what), rows in distance.group_by("ordinal", "what", maintain_order=True)
    ]
    columns = [
        numeric("iteration", "ordinal", str),
        text("texts", "what", 40),
        numeric("n", "n", count),
        _measure("rank correlation", CORRELATION, number),
        _measure("flag rate, judge minus teacher", GAP, signed),
    ]
    return join(table(lines, columns), *(element("p", sentence) for sentence in _trends(distance)))


def _measure(title: str, measure: str, show: Any) -> Column:
    column = numeric(title, "value", show, CI)

    def cell(row: Mapping[str, Any]) -> object:
        return column.cell(row[measure]) if measure in row else DASH

    return Column(title, cell, "n")


def _trends(distance: pl.DataFrame) -> list[str]:
    words = []
    gaps = distance.filter((pl.col("measure") == GAP) & pl.col("value").is_finite() & pl.col("ci_low").is_not_null())
    for (what,), rows in gaps.sort("what", "ordinal").group_by("what", maintain_order=True):
        found = trend(*(rows[name].to_list() for name in ("ordinal", "value", "ci_low", "ci_high")))
        if found is not None and found.iterations > 1:
            moved = "apart" if found.widening > 0 else "together"
            words.append(
                f"On {what} the gap of the flag rates changes by {signed(found.slope)} an iteration "
                f"({signed(found.low)} to {signed(found.high)}); since the first iteration judge and teacher have come "
                f"{number(abs(found.widening))} {moved}."
            )
    return words


SECTION = Section(120, "judge", "Can the judge be believed?", show, (DIVERGENCE, CLEAN, DISTANCE), query)
