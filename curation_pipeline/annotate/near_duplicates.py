"""Exact and near duplicates over all partitions: clusters, the document that stays, and why.

The rule, a total order that no order of rows or partitions in the input can change: the longest text stays (a truncated
or excerpted copy loses nothing that the kept one lacks), then the one of the earliest partition, then the smallest
doc_id. With ``prefer = "earliest"`` the partition comes before the length, so that a later snapshot of a source never
displaces a document that earlier iterations could draw. A delivery changes what was decided about old documents only in
components that a new document joins, directly or through others (see ``band_candidates``).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.signature_clusters import cluster_signatures
from curation_pipeline.errors import DataError

VERSION = 2

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "cluster_id": pl.Utf8(),
    "cluster_size": pl.Int32(),
    "kept": pl.Boolean(),
    "kept_doc_id": pl.Utf8(),
    "kind": pl.Utf8(),
    "similarity": pl.Float32(),
    "reason": pl.Utf8(),
}
"""Columns after ``doc_id`` and ``partition``; see ``duplicate_clusters``."""


def duplicate_clusters(
    documents: pl.DataFrame,
    signatures: np.ndarray,
    figures: tuple[np.ndarray, np.ndarray],
    settings: DuplicatesSettings | None = None,
) -> pl.DataFrame:
    """Find the duplicates among documents that fit into memory; ``corpus_duplicates`` takes a corpus of any size.

    A document is dropped only if the signature similarity to the document that is kept in its stead reaches the
    threshold, and their figures agree (see ``figures``): a chain of small edits does not remove its far end, which is
    kept as well.

    Args:
        documents: one row for each document of each partition: ``doc_id``; ``partition`` of any type that sorts, the
            earliest first; ``n_bytes`` of the text. The same doc_id in several partitions is an exact duplicate.
        signatures: uint32 (n, h), of the same rows; may be a memory map.
        figures: of the same rows, see ``figures.as_arrays``.
        settings: banding, threshold and preference.

    Returns:
        One row for each row of ``documents``, in order: ``doc_id``, ``partition``, ``cluster_id`` (smallest doc_id of
        the connected component), ``cluster_size`` (rows in it, copies included), ``kept``, ``kept_doc_id`` (itself
        where kept), ``kind`` (how it duplicates that document: "exact", "near", null where kept), ``similarity`` to it
        in [0, 1], ``reason`` in words.

    Raises:
        ConfigError: when the bands do not fit into the signatures.
        DataError: when there are not as many signatures as documents, or a document is twice in one partition.
    """
    chosen = settings or DuplicatesSettings()
    chosen.check(signatures.shape[1])
    if not len(signatures) == len(figures[1]) - 1 == documents.height:
        raise DataError(f"{documents.height} documents, but {len(signatures)} signatures: one of each is needed")
    rows = documents.select(pl.col("doc_id").cast(pl.Utf8), "partition", pl.col("n_bytes").cast(pl.Int64))
    if rows.is_empty():
        return rows.drop("n_bytes").with_columns(
            pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name != "doc_id"
        )
    # Numbers in the order of ids and of partitions stand for both from here on: they sort and group much faster.
    rows = rows.with_columns(
        code=pl.col("doc_id").rank("dense").cast(pl.Int64) - 1, part=pl.col("partition").rank("dense").cast(pl.Int64)
    ).with_row_index("row")
    ranked = _ranked(rows, chosen)
    order = ranked["row"].to_numpy()
    found = cluster_signatures(signatures, order, chosen.bands, chosen.rows, chosen.threshold, figures)
    ranked = ranked.with_columns(component=found.component, keeper=found.kept, similarity=found.similarity)
    place = np.empty(ranked.height, dtype=np.int64)
    place[ranked["code"].to_numpy()] = np.arange(ranked.height)
    of_text = _reasons(ranked, chosen).select(
        "component", "cluster_id", "kept_doc_id", "similarity", "reason", first="partition", first_part="part"
    )
    joined: pl.DataFrame = pl.concat([rows, of_text[place[rows["code"].to_numpy()]]], how="horizontal")
    copy = pl.col("part") != pl.col("first_part")
    return joined.select(
        "doc_id",
        "partition",
        "cluster_id",
        cluster_size=pl.len().over("component").cast(pl.Int32),
        kept=(pl.col("kept_doc_id") == pl.col("doc_id")) & ~copy,
        kept_doc_id="kept_doc_id",
        kind=pl.when(copy)
        .then(pl.lit("exact"))
        .when(pl.col("kept_doc_id") != pl.col("doc_id"))
        .then(pl.lit("near"))
        .otherwise(None),
        similarity="similarity",
        reason=pl.when(copy)
        .then(pl.format("same text as in partition {}, which comes first", pl.col("first").cast(pl.Utf8)))
        .otherwise("reason"),
    )


def _ranked(rows: pl.DataFrame, settings: DuplicatesSettings) -> pl.DataFrame:
    """Distinct documents, best first, with the first row of each and its number of copies."""
    together = rows.sort("code", "part")
    same = together["code"] == together["code"].shift(1).fill_null(-1)
    if (same & (together["part"] == together["part"].shift(1))).any():
        raise DataError("a document is twice in one partition; drop copies within a partition before")
    starts = (~same).arg_true()
    keys, falling = ["n_bytes", "part"], [True, False]
    if settings.prefer == "earliest":
        keys, falling = keys[::-1], falling[::-1]
    return (
        together[starts]
        .with_columns(copies=starts.extend_constant(rows.height, 1).diff().slice(1))
        .sort([*keys, "code"], descending=[*falling, False])
    )


def _reasons(ranked: pl.DataFrame, settings: DuplicatesSettings) -> pl.DataFrame:
    """``cluster_id``, ``kept_doc_id`` and ``reason`` of the distinct documents."""
    here = pl.int_range(pl.len(), dtype=pl.Int64)
    ids = ranked.select("doc_id", "code").sort("code")["doc_id"]
    ranked = ranked.with_columns(
        here=here,
        cluster_id=ids.gather(ranked.select(pl.col("code").min().over("component")).to_series()),
        kept_doc_id=pl.col("doc_id").gather(pl.col("keeper")),
    )
    # A kept document is compared with the best of those that it stands for: that is the one it beat by least.
    dropped = pl.col("keeper") != pl.col("here")
    runner_up = ranked.filter(dropped).group_by("keeper").agg(runner_up=pl.col("here").min(), stands_for=pl.len())
    ranked = ranked.join(runner_up, left_on="here", right_on="keeper", how="left", maintain_order="left")
    better = pl.when(dropped).then("keeper").otherwise("here")
    worse = pl.when(dropped).then("here").otherwise("runner_up")
    length = (pl.col("n_bytes").gather(better), pl.col("n_bytes").gather(worse))
    place = (pl.col("part").gather(better), pl.col("part").gather(worse))
    longer, earlier = length[0] > length[1], place[0] < place[1]
    if settings.prefer == "longest":
        words = (
            pl.when(longer)
            .then(pl.lit("longer"))
            .when(earlier)
            .then(pl.lit("as long and in an earlier partition"))
            .otherwise(pl.lit("as long, in the same partition, with the smaller doc_id"))
        )
    else:
        words = (
            pl.when(earlier)
            .then(pl.lit("in an earlier partition"))
            .when(longer)
            .then(pl.lit("in the same partition and longer"))
            .otherwise(pl.lit("in the same partition, as long, with the smaller doc_id"))
        )
    below = f"below {settings.threshold:g} to every kept text, or has other figures"
    alone = pl.len().over("component") == 1
    return ranked.with_columns(
        reason=pl.when(dropped)
        .then(pl.format("near duplicate ({}) of {}, which is {}", pl.col("similarity").round(2), "kept_doc_id", words))
        .when(alone & (pl.col("copies") > 1))
        .then(pl.format("kept: in the earliest of {} partitions that hold this text", "copies"))
        .when(alone)
        .then(pl.lit("no duplicate found"))
        .when(pl.col("stands_for").is_null())
        .then(pl.lit(f"kept: resembles texts that were dropped, but is {below}"))
        .otherwise(pl.format("kept for {} others; beside the next best it is {}", "stands_for", words))
    )
