"""Every arm at the same token budget: the aggregates of each iteration, and the reduction of harmful outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.evaluation.composite import composite_intervals
from curation_pipeline.experiment.claims import OPEN
from curation_pipeline.experiment.comparison import relative_reduction
from curation_pipeline.report.html import CI, Column, csv, interval, join, mark, numeric, paragraph, small, table
from curation_pipeline.report.numbers import DASH, number, percent
from curation_pipeline.report.section import (
    ENDS,
    IS_LAST,
    Finding,
    ReportData,
    ReportSource,
    ReportTable,
    Rows,
    Section,
)
from curation_pipeline.report.sections.claims import COMPARISONS, HARM_METRIC
from curation_pipeline.seeds import generator
from curation_pipeline.stages.state import MAIN

if TYPE_CHECKING:
    from rich.table import Table

AXES = ("safety", "alignment", "capability", "performance")
SUMMARY = ReportTable("summary", {"chain": str, "ordinal": int, "status": str, "axis": str, "value": float, **ENDS})
HARM = ReportTable(
    "harm",
    {"arm": str, "baseline": str, "ordinal": int, "benchmark": str, "judge": str, "rate": float}
    | {"baseline_rate": float, "reduction": float, **ENDS, "n": int},
)


def query(source: ReportSource) -> dict[str, Rows]:
    """The aggregates of every iteration with their intervals, and the reductions of harm."""
    lake, rows = source.lake, []
    for chain, entries in source.states.items():
        for state in entries:
            manifest = lake.get(state.own["metrics"])
            reference = lake.json(manifest, "performance")["reference_bits_per_byte"]["reported"]
            ends = composite_intervals(lake.frame(manifest), reference)
            at = {"chain": chain, "ordinal": state.ordinal, "status": state.status}
            rows += [
                {**at, "axis": axis, "value": getattr(state.own_performance, axis)}
                | dict(zip(CI, ends[axis], strict=True))
                for axis in AXES
            ]
    return {"summary": rows, "harm": _reductions(source)}


def _reductions(source: ReportSource) -> Rows:
    """Reduction of harmful outputs of the loop's model in force against each arm's, at the same ordinal."""
    lake, profile, rows = source.lake, source.ctx.profile, []
    for arm in profile.experiment.arms:
        runs = [entries for chain, entries in source.states.items() if chain.split("/")[0] == arm]
        for state in source.main[1:]:
            others = [entries[state.ordinal] for entries in runs if len(entries) > state.ordinal]
            if not others:
                continue
            found = relative_reduction(
                [lake.frame(lake.get(state.metrics_id), "generations")],
                [lake.frame(lake.get(other.metrics_id), "generations") for other in others],
                generator(profile.seed, "reduction", arm, state.ordinal),
            )
            at = {"arm": MAIN, "baseline": arm, "ordinal": state.ordinal}
            at |= {"benchmark": "toxicity_prompts", "judge": profile.annotate.judge}
            rows.append(at | asdict(found))
    return rows


def by_arm(data: ReportData) -> pl.DataFrame:
    """The aggregates with the chains of an arm averaged: arm, ordinal, axis, value, ci_low, ci_high, n_chains, status.

    The interval over several chains is the envelope of theirs. `status` is the status of a single chain.
    """
    grouped = data.table(SUMMARY).group_by("arm", "ordinal", "axis")
    return grouped.agg(
        pl.col("value").mean(),
        pl.col("ci_low").min(),
        pl.col("ci_high").max(),
        pl.col("chain").n_unique().alias("n_chains"),
        pl.when(pl.col("chain").n_unique() == 1).then(pl.col("status").first()).alias("status"),
    ).sort("arm", "ordinal", "axis")


def arms(data: ReportData) -> list[str]:
    """The arms that have figures: the report's own, its baselines, then the others by name."""
    present = set(data.table(SUMMARY)["arm"].to_list())
    first = [arm for arm in (data.arm, *data.baselines) if arm in present]
    return first + sorted(present - set(first))


def headline(data: ReportData) -> list[dict[str, Any]]:
    """One row for each arm and iteration: its aggregates by axis, and the reduction of harm (None where missing)."""
    summary, harm = by_arm(data), data.table(HARM).filter(pl.col("reduction").is_finite())
    harm = harm.filter(pl.col("benchmark") == harm_benchmark(data))
    if data.baselines:
        harm = harm.filter(pl.col("baseline") == data.baselines[0])
    reductions = {(row["arm"], row["ordinal"]): row for row in reversed(harm.to_dicts())}
    rows = []
    for arm in arms(data):
        mine = summary.filter(pl.col("arm") == arm)
        for (ordinal,), here in mine.group_by("ordinal", maintain_order=True):
            first = here.row(0, named=True)
            rows.append(
                {
                    "arm": arm,
                    "ordinal": ordinal,
                    "status": first["status"],
                    "n_chains": first["n_chains"],
                    **{row["axis"]: row for row in here.iter_rows(named=True)},
                    "harm": reductions.get((arm, ordinal)),
                    "last": ordinal == mine["ordinal"][-1],
                }
            )
    return rows


def harm_benchmark(data: ReportData) -> str:
    """The benchmark that the headline states the reduction on: the first one given."""
    harm = data.table(HARM)
    return "" if harm.is_empty() else str(harm["benchmark"][0])


def show(data: ReportData) -> Markup:
    """The table of all arms and iterations."""
    rows, names, harm = headline(data), arms(data), data.table(HARM)
    against = f" against {one_line(data.baselines[0], 24)}" if data.baselines else ""
    benchmark = [Markup("<br>"), one_line(harm_benchmark(data), 40)] if harm.height else []

    def name(row: Mapping[str, Any]) -> Markup:
        seeds = [" ", small(f"{row['n_chains']} seeds")] if row["n_chains"] > 1 else []
        return join(mark(names.index(row["arm"])), one_line(row["arm"], 40), *seeds)

    def aggregate(axis: str) -> Column:
        column = numeric("", "value", ends=CI)
        return Column(
            "P" if axis == "performance" else axis, lambda row: column.cell(row[axis]) if axis in row else DASH, "n"
        )

    columns = [
        Column("arm", name, "name"),
        Column("iteration", iteration_with_status, "n"),
        *map(aggregate, AXES),
        Column(join(f"harmful outputs{against}", *benchmark), _change_of_harm, "n"),
    ]
    downloads = [" ", csv("harm", harm, "CSV of harm")] if harm.height else []
    return join(
        paragraph(
            "Each aggregate lies between 0 and 1, higher is better; the range below it is its 95% interval. "
            "Iteration 0 is the cold start. ",
            csv("summary", by_arm(data)),
            *downloads,
        ),
        table(
            rows,
            columns,
            css=lambda row: f"{'ours' if row['arm'] == data.arm else ''} {'last' if row['last'] else ''}".strip(),
        ),
    )


def iteration_with_status(row: Mapping[str, Any]) -> Markup:
    """The number of an iteration, marked where it was rejected."""
    return join(row["ordinal"], Markup(' <span class="tag">rejected</span>') if row["status"] == "rejected" else "")


def _change_of_harm(row: Mapping[str, Any]) -> object:
    harm = row["harm"]
    if harm is None:
        return DASH
    low, high = (None if harm[end] is None else -harm[end] for end in CI)
    return join(_signed(-harm["reduction"]), interval(high, low, _signed))


def _signed(value: float) -> str:
    return percent(value, signed=True)


def terminal_table(data: ReportData) -> Table:
    """The headline as a table for a terminal of 80 columns: one row for each arm, at its last iteration."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=data.title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left")
    table.add_column("arm")
    versus = f"harm vs {data.baselines[0]}" if data.baselines else "harm"
    for title in ("iter.", *(axis[0].upper() for axis in AXES), versus):
        table.add_column(title, justify="right")
    for row in headline(data):
        if not row["last"]:
            continue
        change, harm = DASH, row["harm"]
        if harm is not None:
            ends = [] if None in (harm["ci_low"], harm["ci_high"]) else [-harm["ci_high"], -harm["ci_low"]]
            change = _signed(-harm["reduction"]) + (f" ({', '.join(map(_signed, ends))})" if ends else "")
        figures = [number(row[axis]["value"]) if axis in row else DASH for axis in AXES]
        iteration = f"{row['ordinal']}{' rejected' if row['status'] == 'rejected' else ''}"
        table.add_row(row["arm"], iteration, *figures, change, style="bold" if row["arm"] == data.arm else "")
    table.caption = (
        "The last iteration of each arm; the report has all. Safety, alignment, capability, "
        "performance P = (S + C) / 2: higher is better. Harm: change and its 95% interval."
    )
    return table


def verdicts(data: ReportData) -> list[Finding]:
    """What the last iteration shows of harm; what the corrected comparisons do not show is called undecided."""
    compared = data.table(COMPARISONS).filter(pl.col("metric") == HARM_METRIC)
    corrected = {row["baseline"]: row for row in compared.iter_rows(named=True)}
    harm = data.table(HARM).filter((pl.col("arm") == data.arm) & pl.col("reduction").is_finite())
    rows = harm.filter(IS_LAST).iter_rows(named=True)
    return [_verdict(row, data.arm, corrected.get(row["baseline"])) for row in rows]


def _verdict(row: Mapping[str, Any], arm: str, corrected: Mapping[str, Any] | None) -> Finding:
    change = row["reduction"]
    amount = f"{percent(abs(change))} {'fewer' if change >= 0 else 'more'}"
    where = f"{row['benchmark']}, iteration {row['ordinal']}"
    rates = f"{percent(row['rate'])} against {percent(row['baseline_rate'])}"
    head = f"{arm} gave {amount} harmful outputs than {row['baseline']} ({rates}; {where})."
    low, high = row["ci_low"], row["ci_high"]
    if low is None or high is None:
        return Finding(f"{head} No interval was computed, so chance is not ruled out.", "open")
    span = f"The 95% interval of the reduction runs from {percent(low)} to {percent(high)}"
    if corrected is not None and low * high > 0 and corrected["verdict"] == OPEN:
        p = number(corrected["p_holm"])
        return Finding(
            f"{head} {span}, but among all comparisons of this report chance is not ruled out (p {p}).", "open"
        )
    if low > 0:
        p = "" if corrected is None else f" (p {number(corrected['p_holm'])} after Holm's correction)"
        return Finding(f"{head} {span}, all of it a reduction{p}.", "good")
    if high < 0:
        return Finding(f"{head} {span}: the model became more harmful.", "bad")
    return Finding(f"{head} {span} and includes zero: these data do not show a difference.", "open")


SECTION = Section(10, "arms", "Every arm at the same token budget", show, (SUMMARY, HARM), query, verdicts)
