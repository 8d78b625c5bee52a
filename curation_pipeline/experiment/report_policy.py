"""The report's words on the policy: what it prefers, what moved since the last one, and its closed-form control."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.experiment import report_figures as figures
from curation_pipeline.experiment.report_data import ReportData
from curation_pipeline.experiment.report_text import number, percent
from curation_pipeline.experiment.svg import MUTED, Plot, colour, csv_link, plot_axes

MAX_ROWS = 10
"""Features and groups that are shown, those that matter or moved most; the CSV has all."""


def policy_part(data: ReportData) -> dict[str, Any]:
    """Plots and tables of the last policy, and its moves since the one before; what is missing is empty."""
    effects = _with_before(data.part("policy_effects"), ["feature"], "effect")
    rates = _with_before(data.part("policy_rates"), ["axis", "name"], "selected")
    control = data.part("policy_control").sort("ordinal")
    plot = None
    if effects.height:
        top = effects.sort(pl.col("effect").abs(), descending=True).head(MAX_ROWS)
        named = top.select(name="feature", value="effect")
        plot = figures.bars(named, "what raises the chance of selection", "policy-effects", "change of the probability")
    moved = rates.filter(pl.col("before").is_not_null()).sort(pl.col("change").abs(), descending=True)
    return {
        "plot": plot,
        "effects_csv": csv_link(effects),
        "effects": effects.filter(pl.col("before").is_not_null())
        .sort(pl.col("change").abs(), descending=True)
        .head(MAX_ROWS)
        .to_dicts(),
        "rates": (moved if moved.height else rates.sort("selected", descending=True)).head(MAX_ROWS).to_dicts(),
        "rates_csv": csv_link(rates),
        "control": control.to_dicts(),
        "control_csv": csv_link(control),
        "sentences": _sentences(data, rates),
        "probes": _probes(data.part("credit_probes")),
    }


def _with_before(frame: pl.DataFrame, keys: list[str], value: str) -> pl.DataFrame:
    """The last iteration's rows with ``before``, the value in the iteration with a policy before it, and ``change``."""
    ordinals = frame["ordinal"].unique().sort().to_list()
    last = frame.filter(pl.col("ordinal") == ordinals[-1]) if ordinals else frame
    earlier = frame.filter(pl.col("ordinal") == ordinals[-2]) if len(ordinals) > 1 else frame.clear()
    joined = last.join(earlier.select(*keys, pl.col(value).alias("before")), on=keys, how="left", maintain_order="left")
    return joined.with_columns((pl.col(value) - pl.col("before")).alias("change"))


def _sentences(data: ReportData, rates: pl.DataFrame) -> list[str]:
    """How the evaluation reached the policy: weights and multipliers that moved before it was trained, then the policy.

    The reward that an iteration's policy is trained on was refined at the end of the iteration before.
    """
    control = data.part("policy_control").sort("ordinal")
    if control.height < 2:
        return []
    before, now = control["ordinal"][-2], control["ordinal"][-1]
    moves = data.part("moves").filter(pl.col("ordinal") == before)
    kinds = moves.filter(pl.col("kind").is_in(["weight", "dual"]))
    said = [
        f"{row['name']} went from {number(row['before'])} to {number(row['after'])}: {row['reason']}"
        for row in kinds.iter_rows(named=True)
        if row["before"] != row["after"]
    ]
    words = [f"After the evaluation of iteration {before}: {'; '.join(said)}."] if said else []
    moved = rates.filter(pl.col("change").is_not_null()).sort(pl.col("change").abs(), descending=True).head(3)
    if moved.height:
        shifts = ", ".join(
            f"{row['axis'].replace('_', ' ')} {row['name']} ({percent(row['before'])} to {percent(row['selected'])})"
            for row in moved.iter_rows(named=True)
        )
        words.append(f"The policy of iteration {now} changed the selected share of tokens most for {shifts}.")
    return words


def _probes(frame: pl.DataFrame) -> Plot | None:
    """Measured outcome of each probe against its prediction from the others."""
    last = frame.filter(pl.col("ordinal") == pl.col("ordinal").max())
    if last.is_empty():
        return None
    out: list[Plot] = []
    with plot_axes(3.6, 3.0, "credit-probes", "Probes, measured against predicted", last, out) as axes:
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=0.8)
        axes.scatter(last["predicted"], last["measured"], s=18, color=colour(0), alpha=0.8, zorder=3)
        axes.set_xlabel("predicted without the probe")
        axes.set_ylabel("measured")
        axes.set_title("outcome of each probe")
    return out[0]
