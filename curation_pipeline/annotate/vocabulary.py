"""Counts of known words in many texts, as scikit-learn's CountVectorizer has them for a fixed vocabulary."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.characters import WORD, classed
from curation_pipeline.annotate.compiled import compiled

TOKEN = r"(?u)\b\w\w+\b"
"""A word: two characters or more that Python's ``\\w`` matches. The default of scikit-learn."""


def word_counts(texts: pl.Series, vocabulary: tuple[str, ...], dtype: Any = np.float64) -> Any:
    """How often each of v words occurs in each of n texts, in any case.

    Args:
        texts: n strings.
        vocabulary: v distinct words in lower case, each as ``TOKEN`` has words; the order is that of the columns.
        dtype: of the counts.

    Returns:
        scipy CSR (n, v), columns sorted within a row.
    """
    from scipy import sparse

    slots, spelled, places = _table(vocabulary)
    raw, kinds, ends = classed(texts.str.to_lowercase())
    # A word takes two bytes and what sets it apart from the next one.
    columns = np.empty(raw.size // 3 + ends.size, dtype=np.int32)
    counts = np.empty(columns.size, dtype=dtype)
    offsets = np.zeros(ends.size, dtype=np.int64)
    _count(raw, kinds, ends, slots, spelled, places, columns, counts, offsets)
    used = int(offsets[-1])
    shape = (len(texts), len(vocabulary))
    return sparse.csr_matrix((counts[:used].copy(), columns[:used].copy(), offsets), shape=shape)


@functools.lru_cache(maxsize=8)
def _table(vocabulary: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An open-addressed table of words by their hash, -1 where free; their UTF-8 end to end, and where each begins."""
    raw = [word.encode() for word in vocabulary]
    spelled = np.frombuffer(b"".join(raw), dtype=np.uint8)
    places = np.concatenate([[0], np.cumsum([len(word) for word in raw])]).astype(np.int64)
    slots = np.full(1 << max(int(2 * len(raw)).bit_length(), 4), -1, dtype=np.int32)
    _enter(spelled, places, slots)
    return slots, spelled, places


@compiled
def _hash(raw: np.ndarray, start: int, stop: int) -> np.uint64:
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, stop):
        value = (value ^ np.uint64(raw[i])) * np.uint64(0x9E3779B97F4A7C15)
    return value ^ (value >> np.uint64(29))


@compiled
def _enter(spelled: np.ndarray, places: np.ndarray, slots: np.ndarray) -> None:
    mask = np.uint64(slots.size - 1)
    for word in range(places.size - 1):
        slot = _hash(spelled, places[word], places[word + 1]) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = word


@compiled
def _count(
    raw: np.ndarray,
    kinds: np.ndarray,
    ends: np.ndarray,
    slots: np.ndarray,
    spelled: np.ndarray,
    places: np.ndarray,
    columns: np.ndarray,
    counts: np.ndarray,
    offsets: np.ndarray,
) -> None:
    mask = np.uint64(slots.size - 1)
    n = 0
    for row in range(ends.size - 1):
        at, end = ends[row], ends[row + 1]
        first = n
        while at < end:
            if not kinds[at] & WORD:
                at += 1
                continue
            start, characters = at, 0
            while at < end and kinds[at] & WORD:
                characters += raw[at] & 0xC0 != 0x80
                at += 1
            if characters < 2:
                continue
            size = at - start
            slot = _hash(raw, start, at) & mask
            while slots[slot] >= 0:
                word = slots[slot]
                begin = places[word]
                if places[word + 1] - begin == size:
                    i = 0
                    while i < size and raw[start + i] == spelled[begin + i]:
                        i += 1
                    if i == size:
                        columns[n] = word
                        n += 1
                        break
                slot = (slot + np.uint64(1)) & mask
        found = columns[first:n]
        found.sort()
        kept = first
        for i in range(first, n):
            if i > first and columns[i] == columns[kept - 1]:
                counts[kept - 1] += 1
            else:
                columns[kept], counts[kept] = columns[i], 1
                kept += 1
        n = kept
        offsets[row + 1] = n
