"""Duplicates over all raw partitions: which documents say the same, which one stays, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from curation_pipeline.annotate import near_duplicates, semantic_duplicates
from curation_pipeline.annotate.corpus_duplicates import IndexedPart, corpus_duplicates, write_index
from curation_pipeline.annotate.figures import differ
from curation_pipeline.config import Profile
from curation_pipeline.lake.draft import Draft
from curation_pipeline.lake.keyed import ROW_GROUP
from curation_pipeline.lake.manifest import Manifest, Recipe, canonical_json
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import Declared
from curation_pipeline.steps.annotations.minhash import STEP as MINHASH
from curation_pipeline.steps.annotations.sentence_vectors import STEP as SENTENCE_VECTORS
from curation_pipeline.steps.annotations.text_statistics import STEP as TEXT_STATISTICS
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Place, Step, When, Work, no_seed
from curation_pipeline.steps.view import Table, View

INDEX, INDEX_VERSION = "duplicate_index", "1"
"""The table of what searches read of each partition; it has no box of its own."""
NONE = pl.DataFrame(schema={"doc_id": pl.Utf8(), "partition": pl.Utf8(), **near_duplicates.SCHEMA})
"""The table without a row."""


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
    against the kept document. The table holds the documents that have a duplicate, see `near_duplicates.SCHEMA`. After
    a delivery only documents that its documents may have changed are compared; the others keep their rows.

    Raises:
        DataError: the corpus is empty.
        LakeError: a partition has no signatures, or no sentence vectors where semantic duplicates are asked for.
        OSError: the disk is full.
    """
    settings = work.profile.annotate.duplicates
    known = None if settings.semantic else _earlier_result(work)
    inputs = set() if known is None else set(known.inputs)
    parts = [
        IndexedPart(
            documents.partition_text,
            work.lake.path(minhash, "data.parquet"),
            work.lake.folder(_index(work, documents, minhash)),
            new=not {documents.id, minhash.id} <= inputs,
        )
        for documents, minhash in zip(work.every(DOCUMENTS), work.every(MINHASH), strict=True)
    ]
    found = corpus_duplicates(
        sorted(parts, key=lambda part: part.name),
        settings,
        draft.scratch / (known.id if known else "all"),
        work.lake.path(known, "data.parquet") if known else None,
        work.ctx.progress,
    )
    draft.summary.update(documents=found.documents, compared=found.compared)
    _write(draft, [_semantic(work, pl.concat([NONE, *found.frames]))] if settings.semantic else found.frames)


def _earlier_result(work: Work) -> Manifest | None:
    """The newest result that holds for a part of the corpus: of the same settings, without a document that is gone."""
    head = work.lake.head_record(STEP.table)
    own = {manifest.id for step in (DOCUMENTS, MINHASH) for manifest in work.every(step)}
    like = canonical_json([STEP.parameters(work), STEP.version])
    for earlier in map(work.lake.get, reversed(head.history if head else ())):
        if canonical_json([earlier.parameters, earlier.code_version]) == like and own.issuperset(earlier.inputs):
            return earlier
    return None


def _index(work: Work, documents: Manifest, minhash: Manifest) -> Manifest:
    """What searches read of a partition: made when it is first compared."""
    settings = work.profile.annotate.duplicates

    def make(draft: Draft) -> None:
        table = pl.scan_parquet(work.lake.path(documents, "data.parquet"), glob=False)
        lengths = table.filter(~pl.col("duplicate")).select("n_bytes").collect()["n_bytes"]
        write_index(lengths, work.lake.path(minhash, "data.parquet"), settings, draft.folder)

    banding = {"bands": settings.bands, "rows": settings.rows}
    recipe = Recipe(INDEX, minhash.partition, (documents.id, minhash.id), banding, code_version=INDEX_VERSION)
    return work.lake.build(recipe, make)


def _write(draft: Draft, frames: Iterable[pl.DataFrame]) -> None:
    """Write frames that follow each other in order of doc_id, in row groups that do not depend on how they were cut."""
    clusters, largest, dropped = 0, 0, Counter[str]()
    waiting = NONE
    # Pieces in memory would show in the bytes of the file, and equal rows would have another data version.
    with draft.writer(dict(NONE.schema)) as write:
        for frame in frames:
            clusters += frame.filter(pl.col("doc_id") == pl.col("cluster_id"))["doc_id"].n_unique()
            largest = max([largest, *frame["cluster_size"]])
            dropped.update(dict(frame.filter(~pl.col("kept")).group_by("kind").len().iter_rows()))
            waiting = pl.concat([waiting, frame])
            while waiting.height >= ROW_GROUP:
                write(waiting[:ROW_GROUP].rechunk())
                waiting = waiting[ROW_GROUP:]
        write(waiting.rechunk())
    draft.summary.update(clusters=clusters, largest_cluster=largest, dropped_by_kind=dict(sorted(dropped.items())))


def _semantic(work: Work, found: pl.DataFrame) -> pl.DataFrame:
    lake, settings = work.lake, work.profile.annotate.duplicates

    def rows(step: Step, *columns: str) -> pl.LazyFrame:
        """Columns of a table of all partitions, with the partition's name."""
        return pl.concat(
            pl.scan_parquet(lake.path(manifest, "data.parquet"), glob=False).select(
                "doc_id", *columns, pl.lit(manifest.partition_text).alias("partition")
            )
            for manifest in work.every(step)
        )

    dropped = found.filter(pl.col("kept").any().over("doc_id").not_()).select("doc_id")
    long = rows(TEXT_STATISTICS, "n_words").filter(pl.col("n_words") >= settings.semantic_min_words).unique("doc_id")
    vectors = rows(SENTENCE_VECTORS, "vector", "topic").unique("doc_id")
    work.ctx.progress("comparing vectors", 0.9)
    chosen = (
        rows(DOCUMENTS, "n_bytes")
        .unique("doc_id")
        .join(dropped.lazy(), on="doc_id", how="anti")
        .join(long.select("doc_id"), on="doc_id")
        .join(vectors.drop("partition"), on="doc_id")
        .sort("doc_id")
        .collect()
    )
    pairs = semantic_duplicates.semantic_duplicates(
        chosen["doc_id"],
        chosen["vector"].to_numpy(),
        chosen["topic"].to_numpy(),
        settings.semantic_threshold,
        -chosen["n_bytes"].to_numpy().astype(np.float64),
    )
    # Vectors see numbers no better than signatures do.
    either = pl.concat([pairs["doc_id"], pairs["kept_doc_id"]]).unique()
    own = rows(MINHASH, "figures").filter(pl.col("doc_id").is_in(either.implode())).unique("doc_id").collect()
    both = pairs.join(own, on="doc_id", how="left", maintain_order="left").join(
        own, left_on="kept_doc_id", right_on="doc_id", how="left", maintain_order="left"
    )
    same = [not differ(*figures) for figures in both.select("figures", "figures_right").iter_rows()]
    pairs = pairs.filter(pl.Series(same, dtype=pl.Boolean))
    # A document without a near duplicate has no row yet.
    alone = chosen.join(pairs, on="doc_id", how="semi").join(found, on="doc_id", how="anti")
    added = alone.select(
        "doc_id", "partition", pl.col("doc_id").alias("cluster_id"), cluster_size=1, kept=True,
        kept_doc_id="doc_id", kind=pl.lit(None, pl.Utf8), similarity=1.0, reason=pl.lit(""),
    ).cast(NONE.schema)  # fmt: skip
    return semantic_duplicates.with_semantic(pl.concat([found, added]).sort("doc_id", "partition"), pairs)


def view(ctx: Context, manifest: Manifest) -> View:
    """The largest clusters."""
    table = pl.scan_parquet(ctx.lake.path(manifest, "data.parquet"), glob=False)
    sizes = table.select("cluster_id", "cluster_size").unique()
    largest = sizes.sort("cluster_size", "cluster_id", descending=[True, False]).head(10).collect()
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
    resumes=True,
    follows_corpus=True,
)
