"""The report of a loop and its experiment: one HTML file that needs nothing else, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from curation_pipeline.escaping import one_line
from curation_pipeline.experiment import report_figures as figures
from curation_pipeline.experiment.report_claims import claims_part, front_part, looks_part
from curation_pipeline.experiment.report_data import AXES, ReportData
from curation_pipeline.experiment.report_moves import divergence_part, moved_part, reward_part
from curation_pipeline.experiment.report_policy import policy_part
from curation_pipeline.experiment.report_schemas import SCHEMAS
from curation_pipeline.experiment.report_text import (
    DASH,
    IS_LAST,
    count,
    interval,
    number,
    percent,
    points,
    size,
    verdicts,
)
from curation_pipeline.experiment.svg import Plot, csv_link

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ReportData", "render_report", "terminal_table", "verdicts"]

MAX_SAMPLES = 40
MAX_SAMPLE_CHARS = 600
MAX_STRATA = 8  # at each end of the credit
DIMENSIONS = ("toxicity_bin", "domain", "source", "identity_group")
_DIMENSION_TITLES = {
    "toxicity_bin": "toxicity bin (0 is the cleanest)",
    "domain": "domain",
    "source": "source",
    "identity_group": "identity group mentioned",
}


def render_report(data: ReportData) -> str:
    """The whole report as one HTML file without outside links or scripts.

    Texts from corpora and models are escaped wherever they appear, and samples are folded away behind a warning.

    Args:
        data: What to show. Parts that are missing are named at the end of the page instead of shown.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curation_pipeline.experiment"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": number,
        "pct": percent,
        "points": points,
        "clean": one_line,
        "count": count,
        "size": size,
    }
    arms = data.arms()
    metrics = data.part("metrics").sort("axis", "benchmark", "metric", "arm", "chain", "ordinal", maintain_order=True)
    return environment.get_template("report.html.j2").render(
        data=data,
        arms=arms,
        axes=AXES,
        headline=_headline(data, arms),
        harm_benchmark=_harm_benchmark(data),
        verdicts=verdicts(data),
        trends=_trends(data, arms),
        has_intervals=data.by_arm()["ci_low"].is_not_null().any(),
        claims=claims_part(data),
        front=front_part(data, arms),
        looks=looks_part(data),
        policy=policy_part(data),
        selection=_selection(data),
        selection_ordinal=_last(data, "selection"),
        credit=_credit(data),
        credit_fit=_rows(data, "credit_fit"),
        credit_fit_csv=csv_link(data.part("credit_fit")),
        reward=reward_part(data),
        moved=moved_part(data),
        learning=_learning(data),
        divergence=divergence_part(data),
        judge_clean=_rows(data, "judge_clean"),
        judge_clean_csv=csv_link(data.part("judge_clean")),
        inputs=_rows(data, "inputs"),
        inputs_csv=csv_link(data.part("inputs")),
        timings=_timings(data),
        metrics=metrics.to_dicts(),
        metrics_csv=csv_link(metrics),
        summary_csv=csv_link(data.by_arm()),
        harm_csv=csv_link(data.part("harm")),
        samples=_samples(data),
        max_chars=MAX_SAMPLE_CHARS,
        missing=[name.replace("_", " ") for name in SCHEMAS if data.part(name).is_empty()],
    )


def terminal_table(data: ReportData) -> Table:
    """The headline as a table for a terminal of 80 columns: one row for each arm, at its last iteration."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=data.title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left")
    table.add_column("arm")
    for name in ("iter.", *(axis[0].upper() for axis in AXES)):
        table.add_column(name, justify="right")
    versus = f"harm vs {data.baselines[0]}" if data.baselines else "harm"
    table.add_column(versus, justify="right")
    for row in _headline(data, data.arms()):
        if not row["last"]:
            continue
        cells = [number(cell["value"]) if cell else DASH for cell in row["cells"]]
        harm = row["harm"]
        change = f"{percent(-harm['reduction'], signed=True)}{interval(harm, flip=True)}" if harm else DASH
        iteration = f"{row['ordinal']}{' rejected' if row['status'] == 'rejected' else ''}"
        table.add_row(row["arm"], iteration, *cells, change, style="bold" if row["arm"] == data.arm else "")
    table.caption = (
        "The last iteration of each arm; the report has all. Safety, alignment, capability, "
        "performance P = (S + C) / 2: higher is better. Harm: change and its 95% interval."
    )
    return table


def _headline(data: ReportData, arms: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the headline table, arm by arm: the aggregates (None where missing) and the reduction of harm."""
    summary = data.by_arm()
    harm = data.part("harm").filter(pl.col("reduction").is_finite() & (pl.col("benchmark") == _harm_benchmark(data)))
    if data.baselines:
        harm = harm.filter(pl.col("baseline") == data.baselines[0])
    rows = []
    for arm in arms:
        mine = summary.filter(pl.col("arm") == arm)
        ordinals = mine["ordinal"].unique().sort().to_list()
        for ordinal in ordinals:
            here = {row["axis"]: row for row in mine.filter(pl.col("ordinal") == ordinal).iter_rows(named=True)}
            any_row = next(iter(here.values()))
            reduction = harm.filter((pl.col("arm") == arm) & (pl.col("ordinal") == ordinal)).to_dicts()
            rows.append(
                {
                    "arm": arm,
                    "ordinal": ordinal,
                    "status": any_row["status"],
                    "n_chains": any_row["n_chains"],
                    "tokens": any_row["tokens"],
                    "cells": [here.get(axis) for axis in AXES],
                    "harm": reduction[0] if reduction else None,
                    "last": ordinal == ordinals[-1],
                }
            )
    return rows


def _harm_benchmark(data: ReportData) -> str:
    """The benchmark that the headline states the reduction on: the first one given."""
    harm = data.part("harm")
    return "" if harm.is_empty() else str(harm["benchmark"][0])


def _trends(data: ReportData, arms: Sequence[str]) -> list[Plot]:
    summary = data.by_arm()
    plots = []
    for axis in AXES:
        rows = summary.filter(pl.col("axis") == axis)
        if rows.height:
            title = "P, the aggregate" if axis == "performance" else axis
            plots.append(figures.trend(rows.drop("axis"), arms, title, f"trend-{axis}"))
    return plots


def _selection(data: ReportData) -> list[Plot]:
    rows = data.part("selection").filter(pl.col("arm") == data.arm).filter(IS_LAST)
    plots = []
    for dimension in DIMENSIONS:
        here = rows.filter(pl.col("dimension") == dimension)
        if dimension == "toxicity_bin":
            here = here.sort(pl.col("value").cast(pl.Int64, strict=False), nulls_last=True)
        else:
            here = here.sort("pool_token_share", descending=True).head(12)
        if here.height:
            columns = ["value", "pool_token_share", "batch_token_share", "selection_rate", "mean_weight"]
            plots.append(figures.shares(here.select(columns), _DIMENSION_TITLES[dimension], f"selected-{dimension}"))
    parity = data.part("parity").filter((pl.col("arm") == data.arm) & (pl.col("identity_group") != "none"))
    parity = parity.filter(IS_LAST).filter(pl.col("parity").is_finite())
    if parity.height:
        named = parity.sort("parity").select(
            "documents", name="identity_group", value="parity", low="parity_low", high="parity_high"
        )
        label = "selection rate over that of none; 1 is parity"
        plots.append(figures.ranges(named, "benign text by identity group", "parity", reference=1, label=label))
    return plots


def _credit(data: ReportData) -> Plot | None:
    credit = data.part("credit").filter(pl.col("credit").is_finite())
    credit = credit.filter(IS_LAST).sort("credit", descending=True)
    if credit.is_empty():
        return None
    ends = credit if credit.height <= 2 * MAX_STRATA else pl.concat([credit.head(MAX_STRATA), credit.tail(MAX_STRATA)])
    named = ends.select(name="stratum", value="credit")
    return figures.bars(named, "strata that more tokens would help or hurt most", "credit", "credit, unit scale")


def _learning(data: ReportData) -> dict[str, Any]:
    learning = data.part("learning").filter(pl.col("value").is_finite())
    ordinals = learning["ordinal"].unique().sort().to_list()
    named = learning.with_columns(iteration=pl.format("iteration {}", "ordinal"))
    order = [f"iteration {ordinal}" for ordinal in ordinals]
    plots = [
        figures.curves(
            named.filter(pl.col("quantity") == quantity),
            "step",
            "iteration",
            quantity.replace("_", " "),
            f"learning-{index}",
            label="candidates seen",
            order=order,
            size=(3.4, 2.2),
        )
        for index, quantity in enumerate(named["quantity"].unique(maintain_order=True))
    ]
    return {"plots": plots, "legend": order}


def _timings(data: ReportData) -> dict[str, Any]:
    timings = data.part("timings")
    if timings.is_empty():
        return {"plot": None, "rows": [], "ordinals": []}
    total = timings.group_by("stage", maintain_order=True).agg(pl.col("seconds").sum())
    plot = figures.bars(total.select(name="stage", value="seconds"), "seconds by stage", "timings", "seconds")
    wide = timings.sort("ordinal").pivot("ordinal", index="stage", values="seconds", aggregate_function="sum")
    ordinals = [str(ordinal) for ordinal in timings["ordinal"].unique().sort()]
    order = {stage: index for index, stage in enumerate(total["stage"])}
    rows = sorted(wide.to_dicts(), key=lambda row: order[row["stage"]])
    return {"plot": plot, "rows": rows, "ordinals": ordinals, "total": timings["seconds"].sum()}


def _samples(data: ReportData) -> list[dict[str, Any]]:
    """Samples of every arm's last iteration in turn, the worst and the middling alike, texts cut."""
    generations = data.part("generations")
    last = generations.filter(pl.col("ordinal") == pl.col("ordinal").max().over("arm"))
    if last.is_empty():
        return []
    each = max(1, MAX_SAMPLES // last["arm"].n_unique())
    ranked = last.sort("score", descending=True, nulls_last=True)
    # Evenly over the ranks: only the worst would slander an arm, only the best would flatter it.
    rank = pl.int_range(pl.len()).over("arm")
    step = (pl.len().over("arm") / each).ceil().clip(1).cast(pl.Int64)
    picked = ranked.filter(rank % step == 0)
    return [
        {
            **row,
            "prompt": one_line(row["prompt"] or "", MAX_SAMPLE_CHARS),
            "text": one_line(row["text"] or "", MAX_SAMPLE_CHARS),
        }
        for row in picked.sort("arm", maintain_order=True).iter_rows(named=True)
    ]


def _last(data: ReportData, part: str) -> int | None:
    rows = data.part(part).filter(pl.col("arm") == data.arm)
    return None if rows.is_empty() else int(rows["ordinal"].to_numpy().max())


def _rows(data: ReportData, part: str) -> list[dict[str, Any]]:
    return data.part(part).to_dicts()
