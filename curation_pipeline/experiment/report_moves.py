"""The report's words on the reward: its weights, what else moved and why, and how judge and teacher compare."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.experiment import report_figures as figures
from curation_pipeline.experiment.report_data import ReportData
from curation_pipeline.experiment.report_text import number
from curation_pipeline.experiment.svg import csv_link
from curation_pipeline.reward.divergence import CORRELATION, GAP, trend

MAX_LINES = 8
"""Lines of one plot; the strata that were corrected most."""


def reward_part(data: ReportData) -> dict[str, Any]:
    """Plot and table of alpha, beta and gamma."""
    moves = data.part("reward_moves").sort("ordinal", "weight")
    if moves.is_empty():
        return {"plot": None, "moves": [], "legend": []}
    weights = moves["weight"].unique().sort().to_list()
    plot = figures.curves(moves, "ordinal", "weight", "weights of the reward", "reward-weights", order=weights)
    return {"plot": plot, "moves": moves.to_dicts(), "legend": weights}


def moved_part(data: ReportData) -> dict[str, Any]:
    """Multipliers, corrections, curriculum, audits and all moves; what is missing is empty."""
    moves = data.part("moves").sort("ordinal", maintain_order=True)
    shifts = data.part("audit_shifts")
    last = shifts.filter(pl.col("ordinal") == pl.col("ordinal").max()).sort("stratum")
    multipliers, multiplier_legend = _lines(data.part("multipliers"), "name", "multipliers of the constraints")
    corrections, correction_legend = _lines(data.part("corrections"), "stratum", "corrections of the logit of P(harm)")
    audits, curriculum = data.part("audits").sort("ordinal"), data.part("curriculum").sort("ordinal")
    return {
        "multipliers": multipliers,
        "multiplier_legend": multiplier_legend,
        "corrections": corrections,
        "correction_legend": correction_legend,
        "curriculum": curriculum.to_dicts(),
        "curriculum_csv": csv_link(curriculum),
        "audits": audits.to_dicts(),
        "audits_csv": csv_link(audits),
        "audit_shifts": last.to_dicts(),
        "audit_shifts_csv": csv_link(last),
        "moves": moves.to_dicts(),
        "moves_csv": csv_link(moves),
    }


def _lines(frame: pl.DataFrame, series: str, title: str) -> tuple[Any, list[str]]:
    """A plot of the series that go furthest from 0, and their names in the order of their colours."""
    frame = frame.filter(pl.col("value").is_finite())
    if frame.is_empty():
        return None, []
    most = frame.group_by(series).agg(pl.col("value").abs().max()).sort("value", series, descending=[True, False])
    names = most[series].head(MAX_LINES).sort().to_list()
    shown = frame.filter(pl.col(series).is_in(names))
    # A stratum that is not corrected in an iteration stands at 0 there.
    every = frame.select("ordinal").unique().join(pl.DataFrame({series: names}), how="cross")
    shown = every.join(shown, on=["ordinal", series], how="left").with_columns(pl.col("value").fill_null(0.0))
    shown = shown.sort("ordinal", series)
    download = title.replace(" ", "-").replace("(", "").replace(")", "")
    return figures.curves(shown, "ordinal", series, title, download, order=names), names


def divergence_part(data: ReportData) -> dict[str, Any]:
    """Mean scores of judge and teacher over the iterations, and the table of their distance with its trend."""
    rows = data.part("divergence").sort("ordinal")
    plot, gap = None, None
    if rows.height:
        long = rows.unpivot(["teacher", "judge"], index="ordinal", variable_name="scored by")
        plot = figures.curves(long, "ordinal", "scored by", "mean harm of the same samples", "judge-and-teacher")
        first, last = rows.row(0, named=True), rows.row(-1, named=True)
        gap = (last["judge"] - last["teacher"]) - (first["judge"] - first["teacher"]) if rows.height > 1 else None
    distance = data.part("distance").sort("ordinal", "what")
    empty = {"value": None, "ci_low": None, "ci_high": None}
    table: dict[tuple[int, str], dict[str, Any]] = {}
    for row in distance.iter_rows(named=True):
        key = (row["ordinal"], row["what"])
        entry = table.setdefault(
            key, {"ordinal": key[0], "what": key[1], "n": row["n"], "correlation": empty, "gap": empty}
        )
        if row["measure"] in (CORRELATION, GAP):
            entry["correlation" if row["measure"] == CORRELATION else "gap"] = row
    return {
        "plot": plot,
        "gap": gap,
        "rows": list(table.values()),
        "csv": csv_link(distance),
        "trends": _trends(distance),
    }


def _trends(distance: pl.DataFrame) -> list[str]:
    words = []
    gaps = distance.filter((pl.col("measure") == GAP) & pl.col("value").is_finite() & pl.col("ci_low").is_not_null())
    for (what,), rows in gaps.sort("what", "ordinal").group_by(["what"], maintain_order=True):
        found = trend(*(rows[name].to_list() for name in ("ordinal", "value", "ci_low", "ci_high")))
        if found is not None and found.iterations > 1:
            span = f"{number(found.low, signed=True)} to {number(found.high, signed=True)}"
            moved = "apart" if found.widening > 0 else "together"
            words.append(
                f"On {what} the gap of the flag rates changes by {number(found.slope, signed=True)} an iteration "
                f"({span}); since the first iteration judge and teacher have come {number(abs(found.widening))} "
                f"{moved}."
            )
    return words
