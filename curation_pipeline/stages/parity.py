"""Parity of removal (rules and detectors over text that people call benign) and of selection (a batch)."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.language import languages
from curation_pipeline.annotate.parity import benign_texts, group_membership, removal_parity_by
from curation_pipeline.annotate.quality import FAMILIES, RULES, quality_rules
from curation_pipeline.annotate.quality_classifier import load_quality
from curation_pipeline.annotate.register import register
from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.lake.lake import Lake
from curation_pipeline.reward.parity import MIN_DOCUMENTS, parity_cells, parity_of
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import MODELS, models_in_force, score_judge, score_teachers
from curation_pipeline.stages.drawn import drawn_parts

UNDAMAGED_SCORE = 0.5
"""Below this the quality classifier calls a text damaged."""

INPUTS = ("labels", "register_model", *MODELS)


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
        *((teachers[name] >= HARM_THRESHOLD).alias(f"teacher {name}") for name in teachers.columns),
        (judge[judge.columns[0]] >= HARM_THRESHOLD).alias(f"judge {settings.judge}"),
        (quality["quality_classifier"].fill_null(1.0) < UNDAMAGED_SCORE).alias("quality_classifier"),
        (~languages(texts, settings.language)["language"].is_in(["en", "und"])).alias("language not English"),
    )
    groups = group_membership(benign.select("text_id", "text"), settings.dialect)
    found = removal_parity_by(groups, removed, benign["dataset"].alias("dataset"), settings.parity)
    return found.sort("flagged", "ratio", "rule", "group", descending=[True, True, False, False], nulls_last=True)


def batch_parity(lake: Lake, pool: str, batch: str, min_documents: int = MIN_DOCUMENTS) -> pl.DataFrame:
    """`selection_parity` of a batch of any arm: rows of `PARITY_SCHEMA`.

    Args:
        lake: the lake.
        pool: id of the pool that it was drawn from.
        batch: id of the batch.
        min_documents: fewest benign documents of a group.
    """
    columns = ["source", "identity_group", "p_harm"]
    parts = [
        parity_cells(part.with_columns(pl.col("weight").is_not_null().alias("drawn")))
        for part in drawn_parts(lake, lake.get(pool), lake.get(batch), columns)
    ]
    cells = pl.concat(parts).group_by("identity_group", "source", maintain_order=True).agg(pl.all().sum())
    return parity_of(cells.sort("identity_group", "source"), min_documents)
