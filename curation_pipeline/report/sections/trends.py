"""The aggregates of every arm over the iterations."""

from __future__ import annotations

import polars as pl
from markupsafe import Markup

from curation_pipeline.report.html import grid, join, legend
from curation_pipeline.report.plots import trend
from curation_pipeline.report.section import ReportData, Section
from curation_pipeline.report.sections.arms import AXES, SUMMARY, arms, by_arm


def show(data: ReportData) -> Markup:
    """One plot for each aggregate."""
    summary, names = by_arm(data), arms(data)
    plots = [
        trend(rows.drop("axis"), names, "P, the aggregate" if axis == "performance" else axis, f"trend-{axis}")
        for axis in AXES
        if (rows := summary.filter(pl.col("axis") == axis)).height
    ]
    return join(legend(names, shapes=True), grid(plots, "grid two"))


SECTION = Section(20, "trends", "Over the iterations", show, (SUMMARY,))
