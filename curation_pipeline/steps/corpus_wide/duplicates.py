"""Duplicates over all raw partitions: which documents say the same, which one stays, and why."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from curation_pipeline.annotate import near_duplicates, semantic_duplicates
from curation_pipeline.annotate.figures import differ
from curation_pipeline.config import Profile
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import Declared
from curation_pipeline.steps.annotations.minhash import STEP as MINHASH
from curation_pipeline.steps.annotations.sentence_vectors import STEP as SENTENCE_VECTORS
from curation_pipeline.steps.annotations.text_statistics import STEP as TEXT_STATISTICS
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Place, Step, When, Work, no_seed
from curation_pipeline.steps.view import Table, View


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
    current = ctx.lake.require(STEP.table)
    compared = {identity for identity in current.inputs if identity.startswith("documents-")}
    if compared <= {manifest.id for manifest in present.documents.values()}:
        return current
    return STEP.make(ctx, Place(documents=[present.documents[key] for key in corpus]))


def compute(work: Work, draft: Draft) -> None:
    """Clusters of near duplicates and, where the profile asks, of semantic duplicates: which one stays, and why.

    Near duplicates by MinHash, locality-sensitive hashing and connected components (Broder 1997), each drop verified
    against the kept document. The table holds the documents that have a duplicate, see `near_duplicates.SCHEMA`.

    Raises:
        DataError: the corpus is empty.
        LakeError: a partition has no signatures, or no sentence vectors where semantic duplicates are asked for.
    """
    lake, settings, ctx = work.lake, work.profile.annotate.duplicates, work.ctx
    rows = pl.concat(
        lake.frame(m, columns=["doc_id", "n_bytes", "duplicate"])
        .filter(~pl.col("duplicate"))
        .select("doc_id", "n_bytes", pl.lit(m.partition_text).alias("partition"))
        for m in work.every(DOCUMENTS)
    )
    ctx.progress("reading signatures", 0.1)
    signatures = pl.concat(lake.frame(m) for m in work.every(MINHASH))
    ctx.progress("clustering", 0.3)
    found = near_duplicates.duplicate_clusters(rows, signatures, settings)
    if settings.semantic:
        ctx.progress("comparing vectors", 0.7)
        found = _semantic(work, found, rows, signatures.unique("doc_id"))
    found = found.filter(pl.col("cluster_size") > 1)
    draft.keyed(found)
    dropped = found.filter(~pl.col("kept"))
    draft.summary.update(
        documents=rows.height,
        clusters=found["cluster_id"].n_unique(),
        largest_cluster=max(found["cluster_size"].to_list(), default=0),
        dropped_by_kind=dict(dropped.group_by("kind").len().sort("kind").iter_rows()),
    )


def _semantic(work: Work, found: pl.DataFrame, rows: pl.DataFrame, signatures: pl.DataFrame) -> pl.DataFrame:
    lake, settings = work.lake, work.profile.annotate.duplicates
    kept = found.filter("kept").select("doc_id").unique()
    long = pl.concat(lake.frame(m, columns=["doc_id", "n_words"]) for m in work.every(TEXT_STATISTICS))
    long = long.filter(pl.col("n_words") >= settings.semantic_min_words).unique("doc_id")
    vectors = pl.concat(lake.frame(m) for m in work.every(SENTENCE_VECTORS)).unique("doc_id")
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


def view(ctx: Context, manifest: Manifest) -> View:
    """The largest clusters."""
    sizes = ctx.lake.frame(manifest).group_by("cluster_id").len()
    largest = sizes.sort("len", "cluster_id", descending=[True, False]).head(10)
    return View({"largest_clusters": Table(["cluster", "documents"], largest.rows())})


def _semantic_asked(profile: Profile) -> bool:
    return profile.annotate.duplicates.semantic


STEP = Step(
    module=__name__,
    table="duplicates",
    version=f"{near_duplicates.VERSION}.{semantic_duplicates.VERSION}",
    compute=compute,
    inputs=(DOCUMENTS, MINHASH, When(TEXT_STATISTICS, _semantic_asked), When(SENTENCE_VECTORS, _semantic_asked)),
    parameters=lambda work: {"duplicates": work.profile.annotate.duplicates.model_dump(mode="json")},
    seed=no_seed,
    kinds=frozenset({"polars", "parquet"}),
    view=view,
    follows_corpus=True,
)
