"""What the refinement moved and why: multipliers, corrections, audits, curriculum and every single move."""

from __future__ import annotations

import polars as pl
from markupsafe import Markup

from curation_pipeline.report.html import CI, csv, element, figure, fold, join, legend, numeric, paragraph, table, text
from curation_pipeline.report.numbers import count, percent, signed
from curation_pipeline.report.plots import curves
from curation_pipeline.report.section import ENDS, IS_LAST, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.stages.refinement_report import refinement_parts

MOVES = ReportTable("moves", {"ordinal": int, "kind": str, "name": str, "before": float, "after": float, "reason": str})
MULTIPLIERS = ReportTable("multipliers", {"ordinal": int, "name": str, "value": float})
CORRECTIONS = ReportTable("corrections", {"ordinal": int, "stratum": str, "value": float})
AUDITS = ReportTable("audits", {"ordinal": int, "drawn": int, "labelled": int, "state": str})
SHIFTS = ReportTable(
    "audit_shifts",
    {"ordinal": int, "stratum": str, "value": float, "labels": int, "harmful": float, "predicted": float, **ENDS},
)
CURRICULUM = ReportTable("curriculum", {"ordinal": int, "stage": str, "reason": str})
TABLES = (MOVES, MULTIPLIERS, CORRECTIONS, AUDITS, SHIFTS, CURRICULUM)
MAX_LINES = 8
"""Lines of one plot: the strata that were corrected most."""
_ITERATION = numeric("iteration", "ordinal", str)


def query(source: ReportSource) -> dict[str, Rows]:
    """What the refinement wrote."""
    parts = refinement_parts(source.lake, source.main)
    return {table.name: parts[table.name] for table in TABLES}


def show(data: ReportData) -> Markup:
    """Plots of multipliers and corrections, then the tables."""
    moves, multipliers, corrections, audits, shifts, curriculum = (
        data.table(found).sort("ordinal", maintain_order=True) for found in TABLES
    )
    shifts = shifts.filter(IS_LAST).sort("stratum")
    parts = [
        _lines(multipliers, "name", "multipliers of the constraints"),
        _lines(corrections, "stratum", "corrections of the logit of P(harm)"),
    ]
    plots = element("div", *parts, css="split")
    if curriculum.height:
        columns = [_ITERATION, text("stage of the next one", "stage"), text("why", "reason", 240, "words")]
        parts.append(element("h3", "Curriculum ", element("small", csv("curriculum", curriculum))))
        parts.append(table(curriculum.to_dicts(), columns))
    if audits.height:
        columns = [
            _ITERATION,
            numeric("drawn", "drawn", count),
            numeric("labels so far", "labelled", count),
            text("state", "state", 80),
        ]
        parts.append(element("h3", "Audit ", element("small", csv("audits", audits))))
        parts.append(table(audits.to_dicts(), columns))
    if shifts.height:
        columns = [
            text("stratum, last iteration", "stratum"),
            numeric("labels", "labels", count),
            numeric("harmful by label", "harmful", percent),
            numeric("by the detectors", "predicted", percent),
            numeric("shift of the logit", "value", signed, CI),
        ]
        says = paragraph("What the labels of the audits say of each stratum. ", csv("audit-shifts", shifts))
        parts += [says, table(shifts.to_dicts(), columns)]
    if moves.height:
        columns = [
            _ITERATION,
            text("what", "name"),
            numeric("from", "before"),
            numeric("to", "after"),
            text("reason", "reason", 400, "words"),
        ]
        summary = f"{moves.height} moves with their reasons"
        parts.append(fold(summary, element("p", csv("moves", moves)), table(moves.to_dicts(), columns)))
    return join(
        paragraph(
            "After each evaluation the multipliers λ of the constraints rise where one is violated and fall where "
            "there is slack. They raise alpha (safety), beta (alignment) and gamma (capability), and believe the "
            "detectors less where benign text of a group or a register suffers. An audit batch of known probability "
            "corrects P(harm) where people or an expert see otherwise."
        ),
        plots,
        *parts[2:],
    )


def _lines(frame: pl.DataFrame, series: str, title: str) -> Markup:
    """A plot of the series that go furthest from 0; empty where there is none."""
    frame = frame.filter(pl.col("value").is_finite())
    if frame.is_empty():
        return Markup("")
    most = frame.group_by(series).agg(pl.col("value").abs().max()).sort("value", series, descending=[True, False])
    names = most[series].head(MAX_LINES).sort().to_list()
    # A stratum that is not corrected in an iteration is at 0 there.
    every = frame.select("ordinal").unique().join(pl.DataFrame({series: names}), how="cross")
    shown = every.join(frame, on=["ordinal", series], how="left").with_columns(pl.col("value").fill_null(0.0))
    download = title.replace(" ", "-").replace("(", "").replace(")", "")
    plot = curves(shown.sort("ordinal", series), "ordinal", series, title, download, order=names)
    return element("div", legend(names), figure(plot))


SECTION = Section(90, "moves", "What moved and why", show, TABLES, query)
