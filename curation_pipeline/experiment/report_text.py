"""The report's words: findings that say what an interval allows, and figures as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation_pipeline.experiment.claims import OPEN, SHOWN
from curation_pipeline.experiment.report_data import ReportData

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
HARM_METRIC = "toxicity_probability"
IS_LAST = pl.col("ordinal") == pl.col("ordinal").max()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding in plain words; `tone` is good, bad or open (the interval decides nothing)."""

    text: str
    tone: str


def verdicts(data: ReportData) -> list[Verdict]:
    """What the last iteration shows, in sentences; what the corrected comparisons do not show is called undecided.

    Where no comparisons were made, the intervals alone decide.
    """
    found: list[Verdict] = []
    harm = data.part("harm").filter((pl.col("arm") == data.arm) & pl.col("reduction").is_finite())
    comparisons = data.part("comparisons")
    corrected = {
        row["baseline"]: row for row in comparisons.filter(pl.col("metric") == HARM_METRIC).iter_rows(named=True)
    }
    for row in harm.filter(IS_LAST).iter_rows(named=True):
        found.append(_harm_verdict(row, data.arm, corrected.get(row["baseline"])))
    if comparisons.height:
        # The other comparisons stand in their table: these sentences are what a reader asks first.
        lost = comparisons.filter(pl.col("metric") == "bits_per_byte")
        return found + [_loss_verdict(row) for row in lost.iter_rows(named=True)]
    summary = data.by_arm()
    mine_last = summary.filter(pl.col("arm") == data.arm).filter(IS_LAST)
    last = summary.join(mine_last.select("ordinal").unique(), on="ordinal")
    for other in data.baselines:
        for axis in ("capability", "alignment"):
            both = last.filter(pl.col("axis") == axis)
            mine, theirs = (both.filter(pl.col("arm") == arm).to_dicts() for arm in (data.arm, other))
            measured = mine and theirs and mine[0]["ordinal"] > 0  # all arms share the cold start
            # Without intervals one sentence an arm is enough, on what a filter is most likely to harm.
            if measured and (axis == "capability" or mine[0]["ci_low"] is not None):
                found.append(_axis_verdict(axis, data.arm, mine[0], other, theirs[0]))
    return found


def _loss_verdict(row: Mapping[str, Any]) -> Verdict:
    head = (
        f"{row['arm']} needs {number(row['ours'])} bits per byte of held-out text, {row['baseline']} "
        f"{number(row['theirs'])} ({number(row['difference'], signed=True)}; 95% interval "
        f"{number(row['ci_low'], signed=True)} to {number(row['ci_high'], signed=True)})."
    )
    margin = f"a loss of {number(row['margin'])}, 5% of the baseline's"
    p = f"p {number(row['p_holm'])} after Holm's correction"
    if row["verdict"] == SHOWN:
        some = "There is a loss, and it" if row["ci_low"] > 0 else "It"
        return Verdict(f"{head} {some} is shown not to reach {margin} ({p}).", "good")
    return Verdict(f"{head} These data do not rule out {margin} ({p}).", "open")


def _harm_verdict(row: Mapping[str, Any], arm: str, corrected: Mapping[str, Any] | None) -> Verdict:
    change = row["reduction"]
    amount = f"{percent(abs(change))} {'fewer' if change >= 0 else 'more'}"
    where = f"{row['benchmark']}, iteration {row['ordinal']}"
    rates = f"{percent(row['rate'])} against {percent(row['baseline_rate'])}"
    head = f"{arm} gave {amount} harmful outputs than {row['baseline']} ({rates}; {where})."
    low, high = row["ci_low"], row["ci_high"]
    if low is None or high is None:
        return Verdict(f"{head} No interval was computed, so chance is not ruled out.", "open")
    span = f"The 95% interval of the reduction runs from {percent(low)} to {percent(high)}"
    if corrected is not None and low * high > 0 and corrected["verdict"] == OPEN:
        p = number(corrected["p_holm"])
        return Verdict(
            f"{head} {span}, but among all comparisons of this report chance is not ruled out (p {p}).", "open"
        )
    if low > 0:
        p = "" if corrected is None else f" (p {number(corrected['p_holm'])} after Holm's correction)"
        return Verdict(f"{head} {span}, all of it a reduction{p}.", "good")
    if high < 0:
        return Verdict(f"{head} {span}: the model became more harmful.", "bad")
    return Verdict(f"{head} {span} and includes zero: these data do not show a difference.", "open")


def _axis_verdict(axis: str, arm: str, mine: Mapping[str, Any], other: str, theirs: Mapping[str, Any]) -> Verdict:
    difference = mine["value"] - theirs["value"]
    head = f"{axis.capitalize()} of {arm} is {number(mine['value'])}, of {other} {number(theirs['value'])}"
    head += f" ({number(difference, signed=True)})."
    bounds = [mine["ci_low"], mine["ci_high"], theirs["ci_low"], theirs["ci_high"]]
    if any(bound is None for bound in bounds):
        return Verdict(f"{head} No interval was computed for one of them.", "open")
    if mine["ci_low"] > theirs["ci_high"]:
        return Verdict(f"{head} Their intervals lie apart.", "good")
    if mine["ci_high"] < theirs["ci_low"]:
        return Verdict(f"{head} Their intervals lie apart, and {arm} is the lower one.", "bad")
    return Verdict(f"{head} Their intervals overlap: that is no evidence of a difference, nor of equality.", "open")


def number(value: float | None, signed: bool = False) -> str:
    """Three decimals, or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = round(value, 3) + 0.0  # no negative zero
    return (f"{rounded:+.3f}" if signed else f"{rounded:.3f}").replace("-", MINUS)


def percent(value: float | None, signed: bool = False) -> str:
    """Percent with up to one decimal, or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    digits = 0 if abs(value) >= 0.1 else 1
    text = f"{100 * value:+.{digits}f}%" if signed else f"{100 * value:.{digits}f}%"
    return text.replace("-", MINUS)


def points(value: float | None) -> str:
    """A difference of two shares in percentage points, or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", MINUS)


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands, or a dash."""
    return DASH if value is None or not math.isfinite(value) else f"{value:,.0f}".replace(",", "\u202f")


def size(value: float | None) -> str:
    """Bytes in the largest fitting unit."""
    if value is None:
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def interval(cell: Mapping[str, Any], flip: bool = False) -> str:
    """The interval of a cell in brackets for the terminal, of the negated value if `flip`; empty if there is none."""
    low, high = cell["ci_low"], cell["ci_high"]
    if low is None or high is None:
        return ""
    if flip:
        return f" ({percent(-high, signed=True)}, {percent(-low, signed=True)})"
    return f" ({number(low)}, {number(high)})"
