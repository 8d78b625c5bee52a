"""Semantic duplicates: texts of one topic whose sentence vectors all but coincide.

After SemDeDup (Abbas et al. 2023, arXiv:2303.09540): k-means divides the pool, and only within a cluster are all pairs
compared, so the cost is n**2 / k rather than n**2. It differs in which text stays: SemDeDup keeps the one farthest from
the centroid; here the order of preference of the near duplicates decides, so one rule explains every drop.

How far a cosine can be believed depends on the vectors. With the 64 dimensions of ``vectors``, on the 68,858 packaged
texts that are no near duplicates, 1,392 texts have a partner at .995 and 442 at .999, and only 31% and 58% of them
share even .6 of their words ("X is an American actress and singer." is one sentence to them, whoever X is). Among texts
of 50 words or more there are 13 at .99, and 12 of them are copies. So short texts should not be given, and the default
is to look for none.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError

VERSION = 3
DECIMALS = 4
BLOCK = 2048
"""Rows compared at once: BLOCK**2 float32, 16 MiB."""

SCHEMA: dict[str, pl.DataType] = {"doc_id": pl.Utf8(), "kept_doc_id": pl.Utf8(), "similarity": pl.Float32()}


def semantic_duplicates(
    doc_ids: pl.Series, vectors: np.ndarray, topics: np.ndarray, threshold: float, preference: np.ndarray | None = None
) -> pl.DataFrame:
    """Pairs (dropped, kept) of texts in one topic whose cosine reaches the threshold.

    As with near duplicates, a document is a duplicate only if it is itself that similar to one that is kept. Give only
    documents that are still in: near duplicates and texts too short for their vector to mean anything stay outside.

    Args:
        doc_ids: n distinct ids.
        vectors: (n, d) of any length; zero vectors resemble nothing.
        topics: (n,) topic of each, any integers.
        threshold: least cosine, in (0, 1], compared after rounding to 4 decimals.
        preference: (n,) integers or floats, least first, ties by doc_id; by doc_id alone if absent.

    Returns:
        One row for each duplicate, sorted by doc_id (``SCHEMA``); ``kept_doc_id`` is the most similar kept one.

    Raises:
        DataError: when the lengths differ or an id occurs twice.
    """
    n = len(doc_ids)
    if not len(vectors) == len(topics) == n or (preference is not None and len(preference) != n):
        raise DataError(f"{n} ids, {len(vectors)} vectors, {len(topics)} topics: one of each is needed")
    if doc_ids.n_unique() != n:
        raise DataError("an id occurs twice; give each document once")
    place = np.empty(n, dtype=np.int64)
    place[doc_ids.arg_sort().to_numpy()] = np.arange(n)
    order = np.lexsort((place, np.zeros(n) if preference is None else preference, topics))
    bounds = np.flatnonzero(np.diff(np.asarray(topics)[order], prepend=np.nan, append=np.nan))
    keeper, similarity = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.float32)
    for start, stop in pairwise(bounds.tolist()):
        rows = order[start:stop]
        part = np.asarray(vectors[rows], dtype=np.float32)
        part = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        chosen, cosine = _within(part, threshold)
        found = chosen >= 0
        keeper[rows[found]], similarity[rows[found]] = rows[chosen[found]], cosine[found]
    dropped = np.flatnonzero(keeper >= 0)
    return pl.DataFrame(
        {
            "doc_id": doc_ids.cast(pl.Utf8).gather(dropped),
            "kept_doc_id": doc_ids.cast(pl.Utf8).gather(keeper[dropped]),
            "similarity": similarity[dropped],
        },
        schema=SCHEMA,
    ).sort("doc_id")


def _within(vectors: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """For rows in order of preference: the kept row that each duplicates, or -1, and the cosine with it."""
    n = len(vectors)
    keeper, cosine = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.float32)
    kept = np.ones(n, dtype=bool)
    for start in range(0, n, BLOCK):
        rows = vectors[start : start + BLOCK]
        best = np.full(len(rows), -1, dtype=np.int64)
        best_cosine = np.full(len(rows), -np.inf, dtype=np.float32)
        for other in range(0, start, BLOCK):
            columns = other + np.flatnonzero(kept[other : other + BLOCK])
            if columns.size == 0:
                continue
            product = (rows @ vectors[columns].T).round(DECIMALS)
            most = product.argmax(1)
            value = product[np.arange(len(rows)), most]
            better = value > best_cosine
            best[better], best_cosine[better] = columns[most[better]], value[better]
        product = (rows @ rows.T).round(DECIMALS)
        hits = product >= np.float32(threshold)
        # Only rows with a partner in their own block need to be settled one after another.
        settled = best_cosine >= np.float32(threshold)
        for i in np.flatnonzero(np.tril(hits, -1).any(1)):
            partners = np.flatnonzero(hits[i, :i] & ~settled[:i])
            if partners.size:
                nearest = partners[product[i, partners].argmax()]
                if product[i, nearest] > best_cosine[i]:
                    best[i], best_cosine[i] = start + nearest, product[i, nearest]
                settled[i] = True
        keeper[start : start + len(rows)][settled] = best[settled]
        cosine[start : start + len(rows)][settled] = best_cosine[settled]
        kept[start : start + len(rows)] = ~settled
    return keeper, cosine


def with_semantic(clusters: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Clusters with semantic duplicates entered.

    Only documents that were kept change. What was dropped for one of them still names it: whether semantic duplicates
    leave the pool is decided later, and until then it represents them.

    Args:
        clusters: what ``near_duplicates.duplicate_clusters`` gave.
        pairs: what ``semantic_duplicates`` gave for documents that it kept.

    Returns:
        The same rows and columns, in order; ``kept`` is False and ``kind`` "semantic" for those documents.
    """
    linked = pairs.select("doc_id", _keeper="kept_doc_id", _cosine="similarity")
    own = pl.col("kept") & pl.col("_keeper").is_not_null()
    what = pl.format("semantic duplicate (cosine {}) of {}", pl.col("_cosine").round(4), "_keeper")
    return (
        clusters.join(linked, on="doc_id", how="left", maintain_order="left")
        .with_columns(
            kept=pl.col("kept") & ~own,
            kind=pl.when(own).then(pl.lit("semantic")).otherwise("kind"),
            kept_doc_id=pl.when(own).then("_keeper").otherwise("kept_doc_id"),
            similarity=pl.when(own).then("_cosine").otherwise("similarity"),
            reason=pl.when(own).then(what).otherwise("reason"),
        )
        .drop("_keeper", "_cosine")
    )
