"""The words of the policy card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from curation_pipeline.escaping import markdown, markdown_table

if TYPE_CHECKING:
    from curation_pipeline.policy.card import Origin
    from curation_pipeline.policy.report import Control

_SHOWN = 10
_TOLD = 5
_LITTLE = 0.005
"""An effect below half a percentage point is not worth a sentence."""
_MEANING = {
    "p_harm": "P(harm)",
    "alignment": "the alignment score",
    "quality": "the quality score",
    "log_tokens": "length",
    "centroid_distance": "distance from the middle of its topic",
    "log_times_drawn": "how often it was drawn before",
    "half_log_stratum_ratio": "how full its stratum already is",
    "half_log_coverage_ratio": "how full its topic and group already are",
    "novelty": "novelty beside what is selected",
    "stratum_credit": "the downstream credit of its stratum and traits",
    "group_bonus": "what its group lacks of its floor",
}
_AXES = {"domain": "domain", "toxicity_bin": "toxicity bin", "identity_group": "identity group", "topic": "topic"}
_KL_WORDS = ((0.005, "hardly moved"), (0.05, "moved a little"), (0.3, "moved clearly"))


def meaning(feature: str) -> str:
    """A feature's name for people."""
    if feature.startswith("vector_"):
        return f"direction {feature.removeprefix('vector_')} of the sentence vector"
    if feature.startswith("detector_"):
        return f"the score of {feature.removeprefix('detector_')}"
    return _MEANING.get(feature, feature)


def card_markdown(
    effects: pl.DataFrame,
    group_effects: pl.DataFrame,
    rates: pl.DataFrame,
    share: float,
    control: Control | None,
    origin: Origin | None,
) -> str:
    """The card; arguments are the tables of ``PolicyCard``, the budget's share of the pool's tokens, and the facts."""
    parts = [
        _preferences(effects, group_effects, share),
        _origin(origin) if origin is not None else [],
        _control(control) if control is not None else [],
        _selected(rates),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _preferences(effects: pl.DataFrame, group_effects: pl.DataFrame, share: float) -> list[str]:
    lines = [
        "## What the policy prefers",
        "",
        f"It was asked for {share:.1%} of the pool's tokens. One standard deviation more of a feature, all else equal, "
        "changes the chance of being selected by so many percentage points:",
        "",
    ]
    told = effects.filter((pl.col("effect").abs() >= _LITTLE) & ~pl.col("feature").str.starts_with("vector_"))
    for feature, effect in told.head(_TOLD).iter_rows():
        verb = "raises" if effect > 0 else "lowers"
        lines.append(
            f"- More of {markdown(meaning(feature))} {verb} the chance by {100 * abs(effect):.1f}"
            f"{_where(feature, group_effects)}."
        )
    if told.is_empty():
        lines.append("- No single feature moves the chance by half a percentage point.")
    vectors = effects.filter(pl.col("feature").str.starts_with("vector_"))
    if vectors.height:
        name, effect = vectors.row(0)
        lines.append(
            f"- What the text is about: {meaning(name)} counts most among {vectors.height}, {100 * effect:+.1f}."
        )
    bins = group_effects.filter(pl.col("axis") == "toxicity_bin")["name"].unique().sort().to_list()
    rows = []
    for feature, effect in effects.head(_SHOWN).iter_rows():
        own = group_effects.filter((pl.col("feature") == feature) & (pl.col("axis") == "toxicity_bin"))
        inside = dict(own.select("name", "effect").iter_rows())
        rows.append([meaning(feature), f"{100 * effect:+.1f}", *(f"{100 * inside[name]:+.1f}" for name in bins)])
    columns = ["feature", "everywhere", *(f"toxicity bin {name}" for name in bins)]
    return [*lines, "", markdown_table(columns, rows), ""]


def _where(feature: str, group_effects: pl.DataFrame) -> str:
    """Between which groups of strata an effect ranges."""
    own = group_effects.filter(pl.col("feature") == feature).sort("effect")
    if own.height < 2:
        return ""
    low, high = (
        f"{100 * row['effect']:+.1f} in {_AXES[row['axis']]} {markdown(row['name'])}"
        for row in (own.row(0, named=True), own.row(-1, named=True))
    )
    return f" (from {low} to {high})"


def _origin(origin: Origin) -> list[str]:
    said = [
        f"It started cold and saw {origin.candidates:,} candidates."
        if origin.parent is None
        else f"It started from {origin.parent} and saw {origin.candidates:,} candidates more."
    ]
    if origin.kl_to_parent is not None:
        moved = next((words for limit, words in _KL_WORDS if origin.kl_to_parent < limit), "moved far")
        said.append(f"It has {moved} from there: KL to the parent is {origin.kl_to_parent:.4f} nats a decision.")
    if origin.parent_overlap is not None:
        said.append(f"On this pool the two would draw {origin.parent_overlap:.0%} of the budget alike.")
    said.append(f"The last episode of training used {origin.budget_use:.0%} of the budget.")
    return ["## Where it comes from", "", " ".join(said), ""]


def _control(control: Control) -> list[str]:
    rows = []
    for measure, label in (
        ("value", "value a token"),
        ("paid_value", "value from the reference gain"),
        ("safety", "of which safety"),
        ("alignment", "of which alignment"),
        ("diversity", "of which diversity"),
        ("credit", "of which downstream credit"),
        ("mean_harm", "mean P(harm)"),
        ("effective_share", "effective share of the tokens"),
    ):
        arms = [f"{control.figure(arm, measure):.4f}" for arm in ("policy", "closed_form", "random")]
        difference = control.row("difference", measure)
        interval = f"({difference['low']:+.4f} to {difference['high']:+.4f})"
        rows.append([label, *arms, f"{difference['value']:+.4f} {interval}"])
    groups = control.table.filter((pl.col("arm") == "policy") & pl.col("measure").str.starts_with("parity:"))
    for measure, ratio in groups.select("measure", "value").iter_rows():
        other = control.figure("closed_form", measure)
        group = measure.removeprefix("parity:")
        rows.append([f"parity of {group}", f"{ratio:.3f}", f"{other:.3f}", "1.000", f"{ratio - other:+.3f}"])
    correlation = (
        ""
        if control.correlation is None
        else (f" Their probabilities correlate at {control.correlation:.2f} over documents.")
    )
    return [
        "## Beside the closed form",
        "",
        control.sentence,
        "",
        f"With the same random numbers both would draw {control.overlap:.0%} of the budget alike (the closed form and "
        f"a random draw: {control.chance:.0%}).{correlation}",
        "",
        markdown_table(["measure", "policy", "closed form", "random", "policy minus closed form (95%)"], rows),
        "",
        "Parity is the selection rate of benign text that mentions the group, over that of benign text of the same "
        "sources that mentions none.",
        "",
    ]


def _selected(rates: pl.DataFrame) -> list[str]:
    columns = [
        "axis", "name", "documents", "share of the pool", "share of the batch", "selected", "closed form", "mean weight"
    ]  # fmt: skip
    rows = [
        [
            _AXES[row["axis"]],
            row["name"],
            f"{row['documents']:,}",
            *(f"{row[share]:.1%}" for share in ("share_before", "share_after", "selected")),
            "" if row["control_selected"] is None else f"{row['control_selected']:.1%}",
            f"{row['mean_weight']:.2f}",
        ]
        for row in rates.iter_rows(named=True)
    ]
    return ["## Who is selected", "", markdown_table(columns, rows)]
