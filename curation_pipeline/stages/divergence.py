"""How far judge and teacher stand apart in an iteration: on what the model wrote, and on documents of the draw.

Of a large draw the judge scores a sample: of 2,000 documents the interval of a share is at most .022 to either side.
It is an artefact of its own, which nothing of the loop reads: the judge never teaches.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import judge_scores
from curation_pipeline.lake.keyed import lookup
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.divergence import CORRELATION, GAP, SCHEMA, Trend, divergence, trend
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import judge_parameters, models_in_force, open_detector
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.texts import read_texts

TABLE = "divergences"
CODE_VERSION = "2"
GENERATIONS, DOCUMENTS = "generations", "drawn documents"


def judge_and_teacher(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Rank correlation and gap of the flag rates, on generated samples and on drawn documents.

    On samples the teacher is the mean of the teachers' scores, on documents it is P(harm).

    Raises:
        LakeError: the iteration has not been evaluated.
    """
    lake, settings, seed = ctx.lake, ctx.profile.reward.divergence, ctx.profile.seed
    _, gate, _ = gate_and_parent(lake, chain, ordinal)
    metrics, pool, batch = (lake.require(table, gate.partition) for table in ("metrics", "pool", "batches"))
    models = models_in_force(ctx, gate.references)
    parameters = {
        "flag": settings.flag, "documents": settings.documents, **judge_parameters(ctx.profile.annotate),
    }  # fmt: skip
    inputs = (metrics.id, pool.id, batch.id, *(model.id for model in models.values()))
    recipe = Recipe(TABLE, gate.partition, inputs, parameters, seed, CODE_VERSION)

    def make(draft: Draft) -> None:
        samples = lake.frame(metrics, "generations")
        drawn = lake.frame(batch, columns=["doc_id"])["doc_id"].unique(maintain_order=True)
        sample = drawn.gather(np.argsort(unit_hash(drawn, derive(seed, TABLE)))[: settings.documents])
        teacher = lookup(lake.path(pool, "data.parquet"), sample.to_list(), ["p_harm"])
        texts = teacher.select("doc_id", read_texts(lake, gate.corpus, teacher["doc_id"], redact_pii=False))
        scores = judge_scores(texts, open_detector(ctx, ctx.profile.annotate.judge, models))
        rows = [
            divergence(GENERATIONS, samples["teacher_score"].to_numpy(), samples["score"].to_numpy(), settings.flag),
            divergence(DOCUMENTS, teacher["p_harm"].to_numpy(), scores[scores.columns[1]].to_numpy(), settings.flag),
        ]
        frame = pl.concat(rows)
        draft.frame(frame)
        draft.summary.update(
            {f"{what} {measure}".replace(" ", "_"): None if value is None else round(value, 4)
             for what, measure, value in frame.select("what", "measure", "value").iter_rows()}
        )  # fmt: skip

    return lake.build(recipe, make)


def divergence_history(lake: Lake, chain: str, upto: int | None = None) -> pl.DataFrame:
    """The rows of every iteration of a chain that has them, with the column ``ordinal``.

    Args:
        lake: the lake.
        chain: the chain.
        upto: the last iteration to look at.
    """
    frames = [
        lake.frame(manifest).with_columns(pl.lit(int(manifest.partition["iteration"]), pl.Int64).alias("ordinal"))
        for manifest in lake.heads(TABLE, {"chain": chain})
        if upto is None or int(manifest.partition["iteration"]) <= upto
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema={**SCHEMA, "ordinal": pl.Int64()})


def gap_trend(rows: pl.DataFrame, what: str = GENERATIONS) -> Trend | None:
    """The trend of the gap over the iterations of `divergence_history`; None where nothing was measured."""
    gaps = rows.filter((pl.col("what") == what) & (pl.col("measure") == GAP) & pl.col("value").is_not_null())
    gaps = gaps.sort("ordinal")
    return trend(*(gaps[name].to_list() for name in ("ordinal", "value", "ci_low", "ci_high")))


__all__ = ["CORRELATION", "DOCUMENTS", "GAP", "GENERATIONS", "divergence_history", "gap_trend", "judge_and_teacher"]
