"""Which signatures are near duplicates, by banding and union-find; arrays only (see ``near_duplicates`` for tables).

Locality-sensitive hashing by bands (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4) brings
candidates together; a pair joins only when its whole signatures agree on enough minima, so a chance collision of one
band merges nothing. One band is sorted at a time, so besides the signatures the work takes some 80 bytes a document,
and time grows as n log n.

A connected component may chain texts that resemble only their neighbours. Components are therefore only where
duplicates are looked for: documents elect the kept ones among themselves from the best to the worst, and a document is
dropped only if it is itself similar to one that is kept (lexicographically first maximal independent set). What
resembles dropped texts alone stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.annotate.compiled import compiled, inlined

WINDOW = 32
"""In a bucket each document is compared with this many of the first and of the last before it: with all in buckets of
up to 65 documents, and in linear time in a bucket of any size, such as one that boilerplate fills."""

MAX_KEPT = 1024
"""Kept documents of one component that a document is compared with; no packaged or planted corpus came near it."""


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """What became of n documents, in order of preference (0 is kept before 1).

    Attributes:
        component: (n,) int64, the first document of the connected component.
        kept: (n,) int64, the kept document that this one duplicates; itself where it is kept.
        similarity: (n,) float32, share of equal minima with that document.
    """

    component: np.ndarray
    kept: np.ndarray
    similarity: np.ndarray


def cluster_signatures(
    signatures: np.ndarray,
    order: np.ndarray,
    bands: int,
    rows: int,
    threshold: float,
    figures: tuple[np.ndarray, np.ndarray] | None = None,
) -> Clusters:
    """Near duplicates among signatures.

    Args:
        signatures: uint32 (m, h), h at least bands * rows; may be a memory map.
        order: (n,) rows of ``signatures``, best document first: that order alone decides who is kept.
        bands: number of bands.
        rows: minima in a band.
        threshold: least share of equal minima, in [0, 1].
        figures: of all rows of ``signatures`` (see ``figures.as_arrays``), to tell texts with other figures apart.

    Returns:
        Clusters over positions in ``order``.
    """
    rank_row = np.ascontiguousarray(order, dtype=np.int64)
    n, width = rank_row.size, signatures.shape[1]
    # The epsilon undoes representation errors: .7 of 10 minima is 7, not 8.
    needed = max(int(np.ceil(threshold * width - 1e-9)), 1)
    values, bounds = figures or (np.empty(0, dtype=np.uint64), np.zeros(len(signatures) + 1, dtype=np.int64))
    parent = np.arange(n, dtype=np.int64)
    for band in range(bands):
        keys = band_keys(signatures, rank_row, band, rows)
        by_key = np.argsort(keys)
        _join(signatures, values, bounds, rank_row, keys, by_key, needed, WINDOW, parent)
    kept = np.empty(n, dtype=np.int64)
    equal = np.empty(n, dtype=np.int32)
    _elect(signatures, values, bounds, rank_row, needed, MAX_KEPT, parent, kept, equal)
    return Clusters(parent, kept, (equal / np.float32(max(width, 1))).round(4).astype(np.float32))


def band_keys(signatures: np.ndarray, order: np.ndarray, band: int, rows: int) -> np.ndarray:
    """A hash of the minima of one band; bands of different numbers have different keys.

    Args:
        signatures: uint32 (m, h).
        order: int64 (n,) rows of ``signatures``.
        band: its number, from 0.
        rows: minima in a band.

    Returns:
        uint64 (n,).
    """
    keys = np.empty(order.size, dtype=np.uint64)
    _band_keys(signatures, order, band * rows, rows, keys)
    return keys


@inlined
def _equal(signatures: np.ndarray, values: np.ndarray, bounds: np.ndarray, one: int, other: int, needed: int) -> int:
    """Equal minima of two rows; -1 where there are too few or where both have a figure that the other lacks."""
    same = 0
    for j in range(signatures.shape[1]):
        same += signatures[one, j] == signatures[other, j]
    if same < needed:
        return -1
    i, k = bounds[one], bounds[other]
    around = np.uint64(0)
    only_one, only_other = False, False
    while i < bounds[one + 1] or k < bounds[other + 1]:
        take_one = k == bounds[other + 1] or (i < bounds[one + 1] and values[i] <= values[k])
        take_other = i == bounds[one + 1] or (k < bounds[other + 1] and values[k] <= values[i])
        here = (values[i] if take_one else values[k]) >> np.uint64(32)
        if here != around:
            around, only_one, only_other = here, False, False
        only_one |= take_one and not take_other
        only_other |= take_other and not take_one
        if only_one and only_other:
            return -1
        i += take_one
        k += take_other
    return same


@compiled
def _band_keys(signatures: np.ndarray, order: np.ndarray, first: int, rows: int, keys: np.ndarray) -> None:
    """One 64-bit hash a document of the minima of a band; where the band begins enters it."""
    for i in range(order.size):
        value = np.uint64(first + 1) * np.uint64(0x9E3779B97F4A7C15)
        for j in range(first, first + rows):
            value = (value ^ np.uint64(signatures[order[i], j])) * np.uint64(0xBF58476D1CE4E5B9)
            value ^= value >> np.uint64(29)
        keys[i] = value


@compiled
def _join(
    signatures: np.ndarray,
    values: np.ndarray,
    bounds: np.ndarray,
    order: np.ndarray,
    keys: np.ndarray,
    by_key: np.ndarray,
    needed: int,
    window: int,
    parent: np.ndarray,
) -> None:
    """Unite the components of verified pairs in each run of equal keys; the root is the first document."""
    n = by_key.size
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and keys[by_key[stop]] == keys[by_key[start]]:
            stop += 1
        if stop - start > 1:
            bucket = by_key[start:stop]
            bucket.sort()  # by preference, so that the windows do not depend on how the keys were sorted
            for i in range(1, stop - start):
                one = bucket[i]
                root = one
                while parent[root] != root:
                    parent[root] = parent[parent[root]]
                    root = parent[root]
                for k in range(min(i, 2 * window)):
                    place = k if k < window or i <= 2 * window else i - 2 * window + k
                    other = bucket[place]
                    while parent[other] != other:
                        parent[other] = parent[parent[other]]
                        other = parent[other]
                    if other == root:
                        continue
                    if _equal(signatures, values, bounds, order[one], order[bucket[place]], needed) >= 0:
                        if other < root:
                            parent[root] = other
                            root = other
                        else:
                            parent[other] = root
        start = stop


@compiled
def _elect(
    signatures: np.ndarray,
    values: np.ndarray,
    bounds: np.ndarray,
    order: np.ndarray,
    needed: int,
    most: int,
    parent: np.ndarray,
    kept: np.ndarray,
    equal: np.ndarray,
) -> None:
    """Flatten the components, then decide from best to worst; ``following`` links the kept ones of a component."""
    n = order.size
    following = np.full(n, -1, dtype=np.int64)
    last = np.arange(n)
    count = np.ones(n, dtype=np.int32)
    for one in range(n):
        # A root is the best of its component, so it comes before its members and is kept.
        root = parent[parent[one]]
        parent[one] = root
        kept[one] = one
        equal[one] = signatures.shape[1]
        if root == one:
            continue
        best = -1
        best_same = needed - 1
        other = root
        while other != -1:
            same = _equal(signatures, values, bounds, order[one], order[other], best_same + 1)
            if same > best_same:
                best = other
                best_same = same
            other = following[other]
        if best >= 0:
            kept[one] = best
            equal[one] = best_same
        elif count[root] < most:
            following[last[root]] = one
            last[root] = one
            count[root] += 1
