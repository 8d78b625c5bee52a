"""All figures behind the aggregates, those at chance in grey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.evaluation.chance import with_chance
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.report.html import CI, Column, csv, element, fold, interval, join, numeric, small, table, text
from curation_pipeline.report.numbers import DASH, count, number
from curation_pipeline.report.section import ENDS, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.stages.state import State, state_partition

METRICS = ReportTable(
    "metrics",
    {"chain": str, "ordinal": int, "axis": str, "benchmark": str, "metric": str, "judge": str, "value": float, **ENDS}
    | {"n": int, "higher_is_better": bool, "chance": float, "at_chance": bool},
)


def query(source: ReportSource) -> dict[str, Rows]:
    """Every figure of every iteration."""
    return {"metrics": all_metrics(source.lake, source.states)}


def all_metrics(lake: Lake, states: Mapping[str, list[State]]) -> pl.DataFrame:
    """The metrics of every iteration, those of the evaluation harness among them, with chain, ordinal and chance."""
    frames = [
        lake.frame(manifest).with_columns(
            pl.lit(chain).alias("chain"), pl.lit(state.ordinal, pl.Int64).alias("ordinal")
        )
        for chain, entries in states.items()
        for state in entries
        for manifest in (lake.get(state.own["metrics"]), *_of_the_harness(lake, chain, state))
    ]
    return with_chance(pl.concat(frames))


def _of_the_harness(lake: Lake, chain: str, state: State) -> list[Manifest]:
    """Its figures of the checkpoint that the iteration made, if there are any."""
    found = lake.head("harness", state_partition(chain, state.ordinal))
    return [] if found is None or found.summary["checkpoint"] != state.own.get("checkpoints") else [found]


def show(data: ReportData) -> Markup:
    """One folded table."""
    frame = data.table(METRICS).sort("axis", "benchmark", "metric", "arm", "chain", "ordinal", maintain_order=True)
    better = {None: DASH, True: "higher", False: "lower"}
    columns = [
        text("axis", "axis", 24),
        text("benchmark", "benchmark", css="term"),
        text("metric", "metric", css="term"),
        text("judge", "judge", 40),
        text("chain", "chain", 40, "term"),
        numeric("iteration", "ordinal", str),
        Column("value", _value, "n"),
        numeric("n", "n", count),
        Column("better", lambda row: better[row["higher_is_better"]]),
    ]
    note = (
        " Grey: at chance, the interval is not above the score of guessing (or the score that shows understanding is "
        "not); nothing is claimed from it."
    )
    return fold(
        f"{frame.height} figures behind the aggregates",
        element("p", csv("metrics", frame), note),
        table(frame.to_dicts(), columns, css=lambda row: "chance" if row["at_chance"] else ""),
    )


def _value(row: Mapping[str, Any]) -> Markup:
    parts = [number(row["value"]), interval(row[CI[0]], row[CI[1]])]
    if row["at_chance"]:
        parts.append(small("at chance" if row["chance"] is None else f"at chance, {number(row['chance'])}"))
    return join(*parts)


SECTION = Section(150, "figures", "All figures", show, (METRICS,), query)
