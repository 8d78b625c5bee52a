"""The seconds of each stage in each iteration."""

from __future__ import annotations

import polars as pl
from markupsafe import Markup

from curation_pipeline.report.html import element, figure, numeric, paragraph, table, text
from curation_pipeline.report.numbers import DASH
from curation_pipeline.report.plots import bars
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section

TIMINGS = ReportTable("timings", {"ordinal": int, "stage": str, "seconds": float})


def query(source: ReportSource) -> dict[str, Rows]:
    """How long each artefact of the loop took to make."""
    rows = [
        {"ordinal": state.ordinal, "stage": table, "seconds": source.lake.get(identity).seconds}
        for state in source.main
        for table, identity in state.own.items()
    ]
    return {"timings": rows}


def show(data: ReportData) -> Markup:
    """Bars over the stages, and the table by iteration."""
    timings = data.table(TIMINGS)
    total = timings.group_by("stage", maintain_order=True).agg(pl.col("seconds").sum())
    plot = bars(total.select(name="stage", value="seconds"), "seconds by stage", "timings", "seconds")
    wide = timings.sort("ordinal").pivot("ordinal", index="stage", values="seconds", aggregate_function="sum")
    wide = total.select("stage").join(wide, on="stage", how="left", maintain_order="left")
    columns = [text("seconds in iteration", "stage"), *(numeric(name, name, _seconds) for name in wide.columns[1:])]
    whole = paragraph(f"{timings['seconds'].sum():.0f} seconds in all.")
    return element("div", figure(plot), element("div", table(wide.to_dicts(), columns), whole), css="split")


def _seconds(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


SECTION = Section(140, "time", "Where the time went", show, (TIMINGS,), query)
