"""The red team of the detectors."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.annotate.redteam.measure import audit_detector, summary
from curation_pipeline.annotate.redteam.texts import AUDIT_ROLES, audit_texts
from curation_pipeline.annotate.toxicity import axis_of_detector
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.reward.metrics import auroc, reliability
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import judge_parameters, labels_hash, open_detector, teacher_parameters
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import Figure, Plot, Table, View

BENIGN_SETS = ("impermium", "paradetox", "wiki_talk", "redditbias", "pyrit_harm")
"""Sets whose label of 0 comes nearest to "not abusive"; the first that are there are used."""
QUALITY_SCHEMA: dict[str, pl.DataType] = {
    "detector": pl.Utf8(),
    "axis": pl.Utf8(),
    "dataset": pl.Utf8(),
    "auroc": pl.Float64(),
    "ece": pl.Float64(),
    "ece_low": pl.Float64(),
    "ece_high": pl.Float64(),
    "n": pl.Int64(),
}
FIGURES = {
    "mean_evasion": "disguised harm that escapes",
    "any_evasion": "escapes in at least one disguise",
    "false_positive": "benign texts flagged",
    "counter_speech": "counter speech flagged",
    "identity_false_positive": "neutral sentences about people flagged",
    "identity_gap": "gap between identity terms",
    "identity_swap_median": "change when a group is swapped",
    "dialect_swap_median": "change in dialect",
}


def compute(work: Work, draft: Draft) -> None:
    """What each detector misses and what it wrongly flags, on attacks and on human labels.

    Disguised harm that escapes it; benign texts, counter speech and plain mentions of people that it flags; how its
    score changes with the group that is named or with the dialect. Teachers that are easily fooled or unfair weigh less
    in the reward. The judge is audited too, for people to read: nothing of that enters the reward.
    """
    ctx, settings = work.ctx, work.profile.annotate
    frame, axes = _labels(work), work[LABELS].summary["axes"]
    seed = derive(work.profile.seed, "detector_audit")
    tables, quality, figures = [], [], {}
    known = set(frame["dataset"].unique())
    benign_sets = [name for name in BENIGN_SETS if name in known]
    for name in (*settings.teachers, settings.judge):
        detector, axis = open_detector(ctx, name, work.by_table(DETECTORS, CASCADE)), axis_of_detector(name)
        own = [dataset for dataset in sorted(known) if axes.get(dataset) == axis]
        benign, harmful = audit_texts(frame, own, benign_sets if axis == "toxicity" else own, seed)
        table = audit_detector(detector, benign, harmful, seed, progress=ctx.progress)
        tables.append(table)
        figures[name] = {key: round(value, 4) for key, value in summary(table).items()}
        reported = frame.filter((pl.col("role") == "report") & pl.col("dataset").is_in(own))
        scores = detector.score(reported["text"].to_list(), ctx.progress)[detector.heads[0]]
        scored = reported.select("dataset", "label").with_columns(scores.alias("score"))
        for (dataset,), part in scored.group_by("dataset", maintain_order=True):
            p, y = part["score"].to_numpy(), part["label"].to_numpy()
            error = reliability(p, y, seed)
            quality.append((name, axis, dataset, auroc(p, y), error.value, error.low, error.high, part.height))
    draft.frame(pl.concat(tables))
    draft.frame(pl.DataFrame(quality, schema=QUALITY_SCHEMA, orient="row"), "quality")
    draft.summary["figures"] = figures


def view(ctx: Context, manifest: Manifest) -> View:
    """Attacks and human labels as tables, evasion as bars."""
    figures = manifest.summary["figures"]
    rows = [[label, *(f"{own[key]:.3f}" if key in own else "" for own in figures.values())]
            for key, label in FIGURES.items()]  # fmt: skip
    labelled = ctx.lake.frame(manifest, "quality").iter_rows()
    quality = [[name, axis, dataset, f"{area:.3f}", f"{ece:.3f} ({low:.3f} to {high:.3f})", n]
               for name, axis, dataset, area, ece, low, high, n in labelled]  # fmt: skip
    shown: dict[str, Figure] = {
        "red_team": Table(["measure", *figures], rows),
        "human_labels": Table(["detector", "axis", "labelled set", "AUROC", "calibration error", "texts"], quality),
        "evasion": _evasion(ctx.lake.frame(manifest)),
    }
    return View(shown)


def _evasion(table: pl.DataFrame) -> Plot:
    """Evasion by family of disguise, a group of bars a detector."""
    rows = table.filter(pl.col("measure") == "evasion").drop_nulls("value")
    families = rows["family"].unique(maintain_order=True).to_list()
    names = rows["detector"].unique(maintain_order=True).to_list()

    def draw(axes: Any) -> None:
        for place, name in enumerate(names):
            values = dict(rows.filter(pl.col("detector") == name).select("family", "value").iter_rows())
            positions = [i + place * 0.8 / len(names) for i in range(len(families))]
            axes.bar(positions, [values.get(family, 0.0) for family in families], 0.8 / len(names), label=name)
        axes.set_xticks(range(len(families)), families, rotation=30, ha="right")
        axes.set(ylabel="share of flagged texts that escape", ylim=(0, 1))
        axes.legend(frameon=False)

    return Plot(draw)


def _labels(work: Work) -> pl.DataFrame:
    return work.lake.frame(work[LABELS]).filter(pl.col("role").is_in(AUDIT_ROLES))


def _parameters(work: Work) -> dict[str, Any]:
    settings = work.profile.annotate
    return {
        **teacher_parameters(settings),
        **judge_parameters(settings),
        "labels": labels_hash(_labels(work)),
        "models": [work[DETECTORS].id, work[CASCADE].id],
    }


STEP = Step(
    module=__name__,
    table="detector_audit",
    version="1",
    compute=compute,
    inputs=(LABELS, DETECTORS, CASCADE),
    parameters=_parameters,
    kinds=frozenset({"scikitlearn"}),
    view=view,
    pinned=True,
)
