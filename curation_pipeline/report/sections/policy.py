"""What the policy prefers, what changed in it since the one before, and its closed-form control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.report.html import (
    Column,
    csv,
    element,
    figure,
    fold,
    join,
    numeric,
    paragraph,
    small,
    table,
    text,
)
from curation_pipeline.report.numbers import number, percent, points, signed
from curation_pipeline.report.plots import bars
from curation_pipeline.report.section import ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.report.sections.moves import MOVES
from curation_pipeline.stages.policy_report import policy_section

EFFECTS = ReportTable("policy_effects", {"ordinal": int, "feature": str, "effect": float})
RATES = ReportTable(
    "policy_rates",
    {"ordinal": int, "axis": str, "name": str, "share_before": float, "selected": float, "control_selected": float},
)
CONTROL = ReportTable(
    "policy_control",
    {"ordinal": int, "verdict": str, "sentence": str, "kl_to_parent": float, "parent_overlap": float}
    | {"control_overlap": float},
)
MAX_ROWS = 10
"""Features and groups that are shown, those that matter or moved most; the CSV has all."""


def query(source: ReportSource) -> dict[str, Rows]:
    """The cards of the loop's policies."""
    effects, rates, control = [], [], []
    for ordinal, manifest in source.made("policies"):
        found = policy_section(source.lake, manifest)
        if found is None:
            continue
        at = pl.lit(ordinal, pl.Int64).alias("ordinal")
        effects.append(found.effects.filter(pl.col("axis") == "all").with_columns(at))
        rates.append(found.rates.with_columns(at))
        control.append(
            {
                "ordinal": ordinal,
                "verdict": found.summary["control_verdict"],
                "sentence": found.summary["against_the_closed_form"],
                "kl_to_parent": found.summary.get("kl_to_parent"),
                "parent_overlap": found.summary["parent_overlap"],
                "control_overlap": found.summary["control_overlap"],
            }
        )
    return {
        "policy_effects": pl.concat(effects) if effects else None,
        "policy_rates": pl.concat(rates) if rates else None,
        "policy_control": control,
    }


def show(data: ReportData) -> Markup:
    """Plots and tables of the last policy, and its moves since the one before."""
    effects = _with_before(data.table(EFFECTS), ["feature"], "effect")
    rates = _with_before(data.table(RATES), ["axis", "name"], "selected")
    control = data.table(CONTROL).sort("ordinal")
    moved = _moved(effects)
    parts = [element("p", sentence) for sentence in _sentences(data, rates, control)]
    parts.append(element("div", _plot(effects), _rates(rates), css="split"))
    if moved.height:
        columns = [
            text("feature", "feature"),
            numeric("before", "before", signed),
            numeric("now", "effect", signed),
            numeric("change", "change", signed),
        ]
        download = element("p", csv("policy-moves", effects))
        shown = table(moved.head(MAX_ROWS).to_dicts(), columns)
        parts.append(fold("Preferences that moved most since the policy before", download, shown))
    if control.height:
        columns = [
            numeric("iteration", "ordinal", str),
            text("what the card says", "sentence", 600, "words"),
            numeric("drawn alike", "control_overlap", percent),
            numeric("KL to the parent", "kl_to_parent"),
            numeric("drawn as the parent", "parent_overlap", percent),
        ]
        title = "Against the closed form on the same reward "
        parts.append(element("h3", title, element("small", csv("policy-control", control))))
        parts.append(table(control.to_dicts(), columns))
    return join(*parts)


def _plot(effects: pl.DataFrame) -> Markup:
    if effects.is_empty():
        return Markup("")
    top = effects.sort(pl.col("effect").abs(), descending=True).head(MAX_ROWS)
    named = top.select(name="feature", value="effect")
    return element(
        "div",
        figure(bars(named, "what raises the chance of selection", "policy-effects", "change of the probability")),
        paragraph("Mean change of a document's probability when the feature alone rises by one standard deviation."),
    )


def _rates(rates: pl.DataFrame) -> Markup:
    if rates.is_empty():
        return Markup("")
    moved = _moved(rates)
    shown = moved if moved.height else rates.sort("selected", descending=True)
    columns = [
        Column("group", _group),
        numeric("share of the pool", "share_before", percent),
        numeric("selected", "selected", percent),
        numeric("change, points", "change", points),
        numeric("selected by the closed form", "control_selected", percent),
    ]
    return element(
        "div",
        table(shown.head(MAX_ROWS).to_dicts(), columns),
        paragraph(
            "Groups whose selected share of tokens moved most since the policy before. ", csv("policy-rates", rates)
        ),
    )


def _group(row: Mapping[str, Any]) -> Markup:
    return join(small(one_line(row["axis"].replace("_", " "), 24)), " ", one_line(row["name"], 40))


def _with_before(frame: pl.DataFrame, keys: list[str], value: str) -> pl.DataFrame:
    """The last iteration's rows with ``before``, the value in the iteration with a policy before it, and ``change``."""
    ordinals = frame["ordinal"].unique().sort().to_list()
    last = frame.filter(pl.col("ordinal") == ordinals[-1]) if ordinals else frame
    earlier = frame.filter(pl.col("ordinal") == ordinals[-2]) if len(ordinals) > 1 else frame.clear()
    joined = last.join(earlier.select(*keys, pl.col(value).alias("before")), on=keys, how="left", maintain_order="left")
    return joined.with_columns((pl.col(value) - pl.col("before")).alias("change"))


def _moved(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that the policy before had too, those that moved most first."""
    return frame.filter(pl.col("before").is_not_null()).sort(pl.col("change").abs(), descending=True)


def _sentences(data: ReportData, rates: pl.DataFrame, control: pl.DataFrame) -> list[str]:
    """How the evaluation reached the policy: weights and multipliers that moved before it was trained, then the policy.

    The reward that an iteration's policy is trained on was refined at the end of the iteration before.
    """
    if control.height < 2:
        return []
    before, now = control["ordinal"][-2], control["ordinal"][-1]
    moves = data.table(MOVES).filter((pl.col("ordinal") == before) & pl.col("kind").is_in(["weight", "dual"]))
    said = [
        f"{row['name']} went from {number(row['before'])} to {number(row['after'])}: {row['reason']}"
        for row in moves.iter_rows(named=True)
        if row["before"] != row["after"]
    ]
    words = [f"After the evaluation of iteration {before}: {'; '.join(said)}."] if said else []
    shifts = ", ".join(
        f"{row['axis'].replace('_', ' ')} {row['name']} ({percent(row['before'])} to {percent(row['selected'])})"
        for row in _moved(rates).head(3).iter_rows(named=True)
    )
    if shifts:
        words.append(f"The policy of iteration {now} changed the selected share of tokens most for {shifts}.")
    return [one_line(sentence) for sentence in words]


SECTION = Section(
    100, "policy", "What the policy prefers, and what changed in it", show, (EFFECTS, RATES, CONTROL), query
)
