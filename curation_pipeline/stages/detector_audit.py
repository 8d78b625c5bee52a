"""What each detector misses and whom it wrongs: the red team, and human labels that no detector was fitted on."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.redteam.measure import audit_detector, summary
from curation_pipeline.annotate.redteam.texts import AUDIT_ROLES, audit_texts
from curation_pipeline.annotate.toxicity import axis_of_detector
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.metrics import auroc, reliability
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import (
    MODELS,
    judge_parameters,
    labels_hash,
    models_in_force,
    open_detector,
    teacher_parameters,
)

TABLE = "detector_audit"
CODE_VERSION = "1"
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


def detector_audit(ctx: Context) -> Manifest:
    """Audit every teacher and the judge; ``data`` is the red team's table, ``quality`` that on human labels.

    The judge is audited beside the teachers for people to read; nothing of it enters the reward.

    Raises:
        LakeError: labels or detectors have not been made.
    """
    lake, settings = ctx.lake, ctx.profile.annotate
    labels, models = lake.require("labels"), models_in_force(ctx)
    frame = lake.frame(labels).filter(pl.col("role").is_in(AUDIT_ROLES))
    axes: dict[str, str] = labels.summary["axes"]
    names = [*settings.teachers, settings.judge]
    parameters = {
        **teacher_parameters(settings),
        **judge_parameters(settings),
        "labels": labels_hash(frame),
        "models": [models[name].id for name in MODELS],
    }
    inputs = (labels.id, *(models[name].id for name in MODELS))
    recipe = Recipe(TABLE, {}, inputs, parameters, ctx.profile.seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        seed = derive(ctx.profile.seed, "detector_audit")
        tables, quality, figures = [], [], {}
        known = set(frame["dataset"].unique())
        benign_sets = [name for name in BENIGN_SETS if name in known]
        for name in names:
            detector, axis = open_detector(ctx, name, models), axis_of_detector(name)
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

    return lake.build(recipe, make, founded=True)
