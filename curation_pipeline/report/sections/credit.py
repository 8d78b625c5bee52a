"""Downstream credit: what more tokens of a stratum would do to the model, and how well that is known."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.report.html import csv, element, figure, join, numeric, paragraph, table, text
from curation_pipeline.report.numbers import count
from curation_pipeline.report.plots import MUTED, SvgPlot, bars, colour, plot
from curation_pipeline.report.section import IS_LAST, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.stages.credit_report import credit_section

CREDIT = ReportTable("credit", {"ordinal": int, "stratum": str, "credit": float})
FIT = ReportTable("credit_fit", {"ordinal": int, "target": str, "r2": float, "n_probes": int})
PROBES = ReportTable("credit_probes", {"ordinal": int, "probe": str, "measured": float, "predicted": float})
MAX_STRATA = 8
"""Strata that are shown at each end of the credit."""


def query(source: ReportSource) -> dict[str, Rows]:
    """The credit of every iteration with its fit, and the last iteration's probes."""
    lake, found = source.lake, source.made("probes")
    if not found:
        return {}
    fits = [(ordinal, DownstreamCredit.from_json(lake.json(probes, "credit"))) for ordinal, probes in found]
    # Leaving out every probe in turn costs as many fits: of the last iteration alone.
    ordinal, probes = found[-1]
    return {
        "credit": [
            {"ordinal": at, "stratum": stratum, "credit": value}
            for at, fit in fits
            for stratum, value in zip(fit.strata, fit.at(), strict=True)
        ],
        "credit_fit": [
            {"ordinal": at, "target": fit.metric, "r2": fit.r2, "n_probes": fit.n_probes} for at, fit in fits
        ],
        "credit_probes": credit_section(lake, probes).probes.with_columns(pl.lit(ordinal).alias("ordinal")),
    }


def show(data: ReportData) -> Markup:
    """The strata with the highest and lowest credit, the table of the fits, and the plot of the probes."""
    credit = data.table(CREDIT).filter(pl.col("credit").is_finite()).filter(IS_LAST).sort("credit", descending=True)
    fits, probes = data.table(FIT), data.table(PROBES).filter(IS_LAST)
    parts = []
    if credit.height:
        many = credit.height > 2 * MAX_STRATA
        ends = pl.concat([credit.head(MAX_STRATA), credit.tail(MAX_STRATA)]) if many else credit
        named = ends.select(name="stratum", value="credit")
        title = "strata that more tokens would help or hurt most"
        parts.append(figure(bars(named, title, "credit", "credit, unit scale")))
    if fits.height:
        columns = [
            numeric("iteration", "ordinal", str),
            text("target", "target", 120, "words"),
            numeric("leave-one-out R²", "r2"),
            numeric("probes", "n_probes", count),
        ]
        parts.append(table(fits.to_dicts(), columns))
    note = "Each probe against its prediction from the others; on the line both agree."
    return join(
        paragraph(
            "What the probe trainings say more tokens of a stratum would do to the model. A stratum is topic, toxicity "
            "bin and identity group. Credit enters the reward multiplied by the leave-one-out R² of its fit, so that a "
            "poor fit fades out. ",
            csv("credit-fit", fits),
            " of the fits.",
        ),
        element("div", *parts, css="split"),
        element("div", figure(_probes(probes), note), css="grid") if probes.height else "",
    )


def _probes(frame: pl.DataFrame) -> SvgPlot:
    """Measured outcome of each probe against its prediction from the others."""

    def draw(axes: Any) -> None:
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=0.8)
        axes.scatter(frame["predicted"], frame["measured"], s=18, color=colour(0), alpha=0.8, zorder=3)
        axes.set_xlabel("predicted without the probe")
        axes.set_ylabel("measured")
        axes.set_title("outcome of each probe")

    return plot("credit-probes", "Probes, measured against predicted", frame, (3.6, 3.0), draw)


SECTION = Section(70, "credit", "Downstream credit", show, (CREDIT, FIT, PROBES), query)
