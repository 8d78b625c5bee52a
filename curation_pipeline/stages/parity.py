"""Whom removal and selection meet: rules and detectors over text that people call benign, batches over clean text."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.language import languages
from curation_pipeline.annotate.parity import benign_texts, group_membership, katz_interval, removal_parity_by
from curation_pipeline.annotate.quality import FAMILIES, RULES, quality_rules
from curation_pipeline.annotate.quality_classifier import load_quality
from curation_pipeline.annotate.register import register
from curation_pipeline.policy.pool import NO_GROUP
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import MODELS, models_in_force, score_judge, score_teachers

FLAGGED_SCORE = 0.5
"""At or above this a detector calls a text toxic; below it the quality classifier calls a text damaged."""

INPUTS = ("labels", "register_model", *MODELS)

LEAST_PARITY, LEAST_TEXTS = 0.8, 100
"""Four fifths, as in the rule of that name, over groups of so many clean texts."""
_Z = 1.96


def parity_inputs(ctx: Context) -> list[str]:
    """Ids of the artefacts that `parity_table` reads.

    Raises:
        LakeError: one of them has not been made.
    """
    return [ctx.lake.require(table).id for table in INPUTS]


def parity_table(ctx: Context) -> pl.DataFrame:
    """Removal rates over benign labelled text of the roles calibrate and report, by data set, rule and group.

    Returns:
        ``dataset`` and the columns of `parity.PARITY_SCHEMA`; flagged rows first, then by falling ratio.
    """
    labels, registers = ctx.lake.require("labels"), ctx.lake.require("register_model")
    models = models_in_force(ctx)
    settings = ctx.profile.annotate
    benign = benign_texts(ctx.lake.frame(labels))
    texts = benign.select(pl.col("text_id").alias("doc_id"), "text")
    rules = quality_rules(texts, settings.quality)
    folder = ctx.lake.folder(registers)
    quality = register(texts, quality=load_quality(folder / "quality"))
    teachers = score_teachers(ctx, texts["text"], models).select(settings.teachers)
    judge = score_judge(ctx, texts["text"], models)
    removed = benign.select("text_id").with_columns(
        *(~rules[f"pass_{name}"].alias(name) for name in FAMILIES),
        *(~rules[rule.flag].alias(rule.column) for rule in RULES),
        *((teachers[name] >= FLAGGED_SCORE).alias(f"teacher {name}") for name in teachers.columns),
        (judge[judge.columns[0]] >= FLAGGED_SCORE).alias(f"judge {settings.judge}"),
        (quality["quality_classifier"].fill_null(1.0) < FLAGGED_SCORE).alias("quality_classifier"),
        (~languages(texts, settings.language)["language"].is_in(["en", "und"])).alias("language not English"),
    )
    groups = group_membership(benign.select("text_id", "text"), settings.dialect)
    found = removal_parity_by(groups, removed, benign["dataset"].alias("dataset"), settings.parity)
    return found.sort("flagged", "ratio", "rule", "group", descending=[True, True, False, False], nulls_last=True)


def selection_parity(pool: pl.DataFrame, drawn: pl.Series, least_texts: int = LEAST_TEXTS) -> pl.DataFrame:
    """Which share of the clean text of each identity group a batch draws, over that of clean text of no group.

    Clean is what the reward calls so (toxicity bin 0). Where the reward itself calls the benign text of a group
    harmful, that text is not counted here, and parity looks better than it is: of ``benchmarks/decision_quality.py``,
    which has people's labels, the figures are far lower.

    Args:
        pool: columns doc_id, toxicity_bin and identity_group of the table ``pool``.
        drawn: doc_ids of the batch.
        least_texts: groups of fewer clean texts are left out.

    Returns:
        ``identity_group``, ``documents`` (clean ones), ``rate``, ``parity`` and its 95% interval (Katz et al. 1978)
        ``parity_low`` and ``parity_high``, by rising parity; no rows where nothing clean of no group was drawn.
    """
    clean = pool.filter(pl.col("toxicity_bin") == 0).with_columns(drawn=pl.col("doc_id").is_in(drawn.implode()))
    groups = clean.group_by("identity_group").agg(documents=pl.len(), hits=pl.col("drawn").sum()).sort("identity_group")
    none = groups.filter(pl.col("identity_group") == NO_GROUP)
    rows = []
    if none.height and none["hits"][0]:
        of_none = int(none["hits"][0]), int(none["documents"][0])
        for group, n, hits in groups.filter(pl.col("documents") >= least_texts).iter_rows():
            if group != NO_GROUP:
                low, high = katz_interval(hits, n, *of_none, _Z)
                rows.append((group, n, hits / n, hits / n * of_none[1] / of_none[0], low, high))
    kinds = {"identity_group": pl.Utf8, "documents": pl.Int64} | dict.fromkeys(
        ("rate", "parity", "parity_low", "parity_high"), pl.Float64
    )
    return pl.DataFrame(rows, schema=kinds, orient="row").sort("parity", "identity_group")


def batch_parity(ctx: Context, pool_id: str, batch_id: str) -> pl.DataFrame:
    """`selection_parity` of a batch in the lake, of any arm."""
    pool = ctx.lake.frame(ctx.lake.get(pool_id), columns=["doc_id", "toxicity_bin", "identity_group"])
    return selection_parity(pool, ctx.lake.frame(ctx.lake.get(batch_id), columns=["doc_id"])["doc_id"])
