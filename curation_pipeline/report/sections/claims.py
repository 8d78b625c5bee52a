"""What may be claimed: the corrected comparisons of the loop's last model with the models of every arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from curation_pipeline.escaping import one_line
from curation_pipeline.experiment.claims import ALPHA, AT_CHANCE, COMPARISONS_SCHEMA, MARGIN, OPEN, SHOWN, compare
from curation_pipeline.experiment.model_evaluation import ModelEvaluation
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest, canonical_json
from curation_pipeline.report.html import CI, Column, csv, join, numeric, paragraph, small, table, text
from curation_pipeline.report.numbers import number, percent, signed
from curation_pipeline.report.section import Finding, ReportData, ReportSource, ReportTable, Rows, Section
from curation_pipeline.seeds import generator
from curation_pipeline.stages.state import MAIN

COMPARISONS = ReportTable("comparisons", {name: dtype.to_python() for name, dtype in COMPARISONS_SCHEMA.items()})
HARM_METRIC = "toxicity_probability"
_ITEM_TABLES = ("benchmarks", "heldout_texts", "detectors", "cascade")
_TONES = {SHOWN: "good", OPEN: "open", AT_CHANCE: "chance"}


def query(source: ReportSource) -> dict[str, Rows]:
    """The loop's model in force against the models of each arm at the same iteration, and so after as many tokens."""
    lake, last = source.lake, source.main[-1]
    arms: dict[str, list[ModelEvaluation]] = {}
    for chain, entries in sorted(source.states.items()):
        arm = chain.split("/")[0]
        if arm != MAIN and len(entries) > last.ordinal:
            arms.setdefault(arm, []).append(evaluation(lake, lake.get(entries[last.ordinal].metrics_id)))
    if not arms or not last.ordinal:
        return {}
    ours = [evaluation(lake, lake.get(last.metrics_id))]
    rng = generator(source.ctx.profile.seed, "comparisons", last.ordinal)
    return {"comparisons": compare(MAIN, ours, arms, rng)}


def evaluation(lake: Lake, metrics: Manifest) -> ModelEvaluation:
    """An evaluation with whatever was kept of its items.

    Args:
        lake: holds it.
        metrics: an artefact of the table ``metrics`` or ``base_metrics``.
    """
    files = {file.name for file in metrics.files}
    # Equal items come from equal sources, sizes and seed; the model and the base's evaluation may differ.
    asked_of = [identity for identity in metrics.inputs if lake.get(identity).table in _ITEM_TABLES]
    return ModelEvaluation(
        metrics=lake.frame(metrics),
        items=lake.frame(metrics, "items") if "items.parquet" in files else None,
        generations=lake.frame(metrics, "generations", columns=["prompt_id", "score"]),
        items_from=canonical_json([asked_of, metrics.parameters, metrics.seed, metrics.code_version]),
    )


def show(data: ReportData) -> Markup:
    """The table of comparisons, with what its correction was over."""
    frame = data.table(COMPARISONS)
    columns = [
        Column("against", _baseline),
        Column("question", _question),
        numeric(one_line(data.arm, 24), "ours"),
        numeric("baseline", "theirs"),
        numeric("difference", "difference", signed, CI),
        numeric("margin", "margin"),
        numeric("p, corrected", "p_holm"),
        text("verdict", "verdict"),
        numeric("could have seen", "smallest_difference"),
    ]
    remarks = ["A metric at chance in either model claims nothing; it stays in the family."]
    if (frame["seeds"] == 1).any() or (frame["baseline_seeds"] == 1).any():
        remarks.append(
            "An arm with one seed has no noise of training in its intervals: a claim is then of these two models, not "
            "of the methods."
        )
    if not frame["paired"].all():
        remarks.append(
            "Unpaired: the items behind these figures were not kept, and the interval is wider than a paired one."
        )
    return join(
        paragraph(
            f"{frame.height} comparisons that were fixed beforehand, the last model of {one_line(data.arm, 40)} "
            "against that of every arm. p-values are corrected together after Holm: the chance of any false claim in "
            f'this table is at most {percent(ALPHA)}. "Not lost" asks whether less than {percent(MARGIN)} of the '
            "baseline's bits per byte, or of its accuracy above chance, is given up. The last column is the smallest "
            'difference (for "not lost", the smallest margin) that the comparison could have seen with a probability '
            "of 80%: a difference below it may be there all the same. ",
            csv("comparisons", frame),
        ),
        table(frame.to_dicts(), columns, css=lambda row: _TONES.get(row["verdict"], "bad")),
        paragraph(" ".join(remarks)),
    )


def _baseline(row: Mapping[str, Any]) -> Markup:
    seeds = [" ", small(f"{row['baseline_seeds']} seeds")] if row["baseline_seeds"] > 1 else []
    return join(one_line(row["baseline"], 24), *seeds)


def _question(row: Mapping[str, Any]) -> Markup:
    metric = f"{one_line(row['benchmark'], 40)}, {one_line(row['metric'], 40)}{'' if row['paired'] else ', unpaired'}"
    return join(one_line(row["question"], 60), Markup("<br>"), small(metric))


def verdicts(data: ReportData) -> list[Finding]:
    """Whether language was lost against each arm; the other comparisons are in the table."""
    lost = data.table(COMPARISONS).filter(pl.col("metric") == "bits_per_byte")
    return [_loss(row) for row in lost.iter_rows(named=True)]


def _loss(row: Mapping[str, Any]) -> Finding:
    head = (
        f"{row['arm']} needs {number(row['ours'])} bits per byte of held-out text, {row['baseline']} "
        f"{number(row['theirs'])} ({signed(row['difference'])}; 95% interval {signed(row['ci_low'])} to "
        f"{signed(row['ci_high'])})."
    )
    margin = f"a loss of {number(row['margin'])}, 5% of the baseline's"
    p = f"p {number(row['p_holm'])} after Holm's correction"
    if row["verdict"] == SHOWN:
        some = "There is a loss, and it" if row["ci_low"] > 0 else "It"
        return Finding(f"{head} {some} is shown not to reach {margin} ({p}).", "good")
    return Finding(f"{head} These data do not rule out {margin} ({p}).", "open")


SECTION = Section(30, "claims", "What may be claimed", show, (COMPARISONS,), query, verdicts)
