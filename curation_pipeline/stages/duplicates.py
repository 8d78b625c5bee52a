"""Duplicates over all raw partitions: which documents say the same, which one stays, and why."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from curation_pipeline.annotate import near_duplicates, semantic_duplicates
from curation_pipeline.annotate.figures import differ
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import Declared
from curation_pipeline.stages.sampling import corpus_documents

TABLE = "duplicates"
CODE_VERSION = f"{near_duplicates.VERSION}.{semantic_duplicates.VERSION}"


def duplicates_in_force(ctx: Context, corpus: Mapping[str, Mapping[str, str]], present: Declared) -> Manifest:
    """The current duplicates; found again where they compare with documents that the corpus no longer holds.

    A document would otherwise be dropped as a copy of one that is kept nowhere.

    Args:
        ctx: the surroundings.
        corpus: ids of each complete partition's documents and annotations: what is compared then.
        present: what the profile declares now.

    Raises:
        LakeError: no duplicates have been looked for yet.
    """
    current = ctx.lake.require(TABLE)
    compared = {identity for identity in current.inputs if identity.startswith("documents-")}
    if compared <= {manifest.id for manifest in present.documents.values()}:
        return current
    return duplicates(ctx, [present.documents[key] for key in corpus])


def duplicates(ctx: Context, documents: list[Manifest] | None = None) -> Manifest:
    """Cluster the signatures of every partition that the profile declares, or of these.

    The table holds the documents that have a duplicate: partition, doc_id and the columns of
    `near_duplicates.SCHEMA`; a document without one has no row.

    Raises:
        DataError: the corpus is empty.
        LakeError: a partition has no signatures, or no sentence vectors where semantic duplicates are asked for.
    """
    lake, settings = ctx.lake, ctx.profile.annotate.duplicates
    documents = documents or corpus_documents(ctx)
    tables = ("minhash", "text_statistics", "sentence_vectors") if settings.semantic else ("minhash",)
    beside = {table: [lake.require(table, m.partition) for m in documents] for table in tables}
    inputs = [m.id for m in documents] + [m.id for manifests in beside.values() for m in manifests]
    parameters = {"duplicates": settings.model_dump(mode="json")}
    recipe = Recipe(TABLE, {}, tuple(inputs), parameters, 0, CODE_VERSION)

    def make(draft: Draft) -> None:
        rows = pl.concat(
            lake.frame(m, columns=["doc_id", "n_bytes", "duplicate"])
            .filter(~pl.col("duplicate"))
            .select("doc_id", "n_bytes", pl.lit(m.partition_text).alias("partition"))
            for m in documents
        )
        ctx.progress("reading signatures", 0.1)
        signatures = pl.concat(lake.frame(m) for m in beside["minhash"])
        ctx.progress("clustering", 0.3)
        found = near_duplicates.duplicate_clusters(rows, signatures, settings)
        if settings.semantic:
            ctx.progress("comparing vectors", 0.7)
            found = _semantic(ctx, found, rows, beside, signatures.unique("doc_id"))
        found = found.filter(pl.col("cluster_size") > 1)
        draft.keyed(found)
        dropped = found.filter(~pl.col("kept"))
        draft.summary.update(
            documents=rows.height,
            clusters=found["cluster_id"].n_unique(),
            largest_cluster=max(found["cluster_size"].to_list(), default=0),
            dropped_by_kind=dict(dropped.group_by("kind").len().sort("kind").iter_rows()),
        )

    return lake.build(recipe, make)


def _semantic(
    ctx: Context, found: pl.DataFrame, rows: pl.DataFrame, beside: dict[str, list[Manifest]], signatures: pl.DataFrame
) -> pl.DataFrame:
    lake, settings = ctx.lake, ctx.profile.annotate.duplicates
    kept = found.filter("kept").select("doc_id").unique()
    long = pl.concat(lake.frame(m, columns=["doc_id", "n_words"]) for m in beside["text_statistics"])
    long = long.filter(pl.col("n_words") >= settings.semantic_min_words).unique("doc_id")
    vectors = pl.concat(lake.frame(m) for m in beside["sentence_vectors"]).unique("doc_id")
    chosen = (
        kept.join(long.select("doc_id"), on="doc_id")
        .join(vectors, on="doc_id")
        .join(rows.unique("doc_id").select("doc_id", "n_bytes"), on="doc_id")
        .sort("doc_id")
    )
    pairs = semantic_duplicates.semantic_duplicates(
        chosen["doc_id"],
        chosen["vector"].to_numpy(),
        chosen["topic"].to_numpy(),
        settings.semantic_threshold,
        -chosen["n_bytes"].to_numpy().astype(np.float64),
    )
    # Vectors see numbers no better than signatures do.
    own = signatures.select("doc_id", "figures")
    both = pairs.join(own, on="doc_id", how="left", maintain_order="left").join(
        own, left_on="kept_doc_id", right_on="doc_id", how="left", maintain_order="left"
    )
    same = [not differ(*figures) for figures in both.select("figures", "figures_right").iter_rows()]
    return semantic_duplicates.with_semantic(found, pairs.filter(pl.Series(same, dtype=pl.Boolean)))
