"""Overlap of documents with the texts of benchmarks (``contamination@2``).

A document is contaminated by a benchmark when they share a run of n words (n = 13: GPT-3, Brown et al. 2020, appendix
C; Gopher, Rae et al. 2021, appendix A), compared in lower case and without punctuation and accents. Where GPT-3 then
cuts documents up and forgives runs that are common in the corpus, here every overlap is reported, and what to do about
it is decided later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.wordhash import word_hashes, words

VERSION = 2
N = 13
MIN_WORDS = 8

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "n_overlaps": pl.Int32(),
    "benchmark": pl.Utf8(),
    "overlap": pl.Utf8(),
}

_EMPTY = -1


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkIndex:
    """The runs of words of all benchmarks, for many calls of ``contamination``.

    Attributes:
        lengths: int64, the lengths of run that occur: n, and those of short texts that are matched whole.
        keys: uint64 open-addressing hash table of run hashes, a power of two long, at most half full.
        text: int32, for each slot the text that the run comes from, -1 where the slot is free.
        start: int32, for each slot the run's first word in that text.
        length: int32, for each slot the words in the run.
        texts: the benchmarks' texts.
        benchmarks: the benchmark of each text.
    """

    lengths: np.ndarray
    keys: np.ndarray
    text: np.ndarray
    start: np.ndarray
    length: np.ndarray
    texts: tuple[str, ...]
    benchmarks: tuple[str, ...]


def benchmark_index(benchmark_texts: pl.DataFrame, n: int = N, min_words: int = MIN_WORDS) -> BenchmarkIndex:
    """Index every run of ``n`` words of every text.

    A text with fewer than ``n`` words is one run, to be found whole, if it has at least ``min_words``; shorter ones are
    not used, because they occur by chance.

    Args:
        benchmark_texts: columns ``benchmark`` and ``text``; order and repetition do not matter.
        n: words in a run, at least 2.
        min_words: words of the shortest text that is used.
    """
    frame = benchmark_texts.select(pl.col("benchmark", "text").cast(pl.Utf8)).drop_nulls().unique().sort(pl.all())
    hashes, offsets = word_hashes(frame["text"])
    sizes = np.diff(offsets)
    widths = np.where(sizes >= n, n, np.where(sizes >= min(min_words, n), sizes, 0))
    runs = int(np.where(widths > 0, sizes - widths + 1, 0).sum())
    slots = 1 << max(int(2 * runs).bit_length(), 4)
    keys = np.zeros(slots, dtype=np.uint64)
    text, start, length = (np.full(slots, _EMPTY, dtype=np.int32) for _ in range(3))
    if runs:
        _fill(hashes, offsets, widths, keys, text, start, length)
    lengths = np.unique(widths[widths > 0]).astype(np.int64)
    return BenchmarkIndex(
        lengths, keys, text, start, length, tuple(frame["text"].to_list()), tuple(frame["benchmark"].to_list())
    )


def contamination(
    documents: pl.DataFrame, benchmark_texts: pl.DataFrame | BenchmarkIndex, n: int = N, min_words: int = MIN_WORDS
) -> pl.DataFrame:
    """Runs of words that each document shares with a benchmark.

    Candidates are found by 64-bit hashes and then compared word by word, so that no collision can remove a document.

    Args:
        documents: columns ``doc_id`` and ``text``.
        benchmark_texts: columns ``benchmark`` and ``text``, or an index of them, which then fixes the next two.
        n: as in ``benchmark_index``.
        min_words: as in ``benchmark_index``.

    Returns:
        One row a document, in order, with the columns of ``SCHEMA``: ``n_overlaps``, the number of distinct runs
        shared; ``overlap``, the first of them in the document, normalised; ``benchmark``, where that one is (the
        alphabetically first, if in several). The latter two are null where there is none.
    """
    index = (
        benchmark_texts
        if isinstance(benchmark_texts, BenchmarkIndex)
        else benchmark_index(benchmark_texts, n, min_words)
    )
    count = np.zeros(len(documents), dtype=np.int32)
    benchmark: list[str | None] = [None] * len(documents)
    overlap: list[str | None] = [None] * len(documents)
    divided: dict[int, list[str]] = {}
    for row, hits in _candidates(documents["text"], index):
        own = words(documents["text"][row])
        seen: set[tuple[str, ...]] = set()
        for place, slot in hits:
            source, start, length = int(index.text[slot]), int(index.start[slot]), int(index.length[slot])
            if source not in divided:
                divided[source] = words(index.texts[source])
            run = own[place : place + length]
            if run != divided[source][start : start + length]:
                continue
            seen.add(tuple(run))
            if benchmark[row] is None:
                benchmark[row], overlap[row] = index.benchmarks[source], " ".join(run)
        count[row] = len(seen)
    return pl.DataFrame(
        {"doc_id": documents["doc_id"], "n_overlaps": count, "benchmark": benchmark, "overlap": overlap}, schema=SCHEMA
    )


def _candidates(texts: pl.Series, index: BenchmarkIndex) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Rows that may share a run, with the word at which each starts, ascending, and its slot in the table."""
    if len(texts) == 0 or index.lengths.size == 0:
        return
    hashes, offsets = word_hashes(texts)
    room = 4096
    while True:
        found = np.empty((room, 3), dtype=np.int64)
        n = _find(hashes, offsets, index.lengths, index.keys, index.text, found)
        if n <= room:
            break
        room = n
    found = found[:n]
    bounds = np.flatnonzero(np.diff(found[:, 0], prepend=-1, append=-1)) if n else np.empty(0, dtype=np.int64)
    for first, last in pairwise(bounds.tolist()):
        yield int(found[first, 0]), [(int(place), int(slot)) for _, place, slot in found[first:last]]


@compiled
def _fill(
    hashes: np.ndarray,
    offsets: np.ndarray,
    widths: np.ndarray,
    keys: np.ndarray,
    text: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
) -> None:
    """Enter the runs of every text into the table; the first text with a run keeps it."""
    base = np.uint64(0x9E3779B97F4A7C15)
    mask = np.uint64(keys.size - 1)
    for row in range(widths.size):
        width = widths[row]
        if width == 0:
            continue
        for at in range(offsets[row], offsets[row + 1] - width + 1):
            value = np.uint64(width)
            for word in hashes[at : at + width]:
                value = value * base + word
            value ^= value >> np.uint64(32)
            slot = value & mask
            while text[slot] >= 0 and keys[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if text[slot] < 0:
                keys[slot] = value
                text[slot] = row
                start[slot] = at - offsets[row]
                length[slot] = width


@compiled
def _find(
    hashes: np.ndarray, offsets: np.ndarray, lengths: np.ndarray, keys: np.ndarray, text: np.ndarray, found: np.ndarray
) -> int:
    """Look every run of every text up; (row, word, slot) of the hits, as far as there is room, and their number."""
    base = np.uint64(0x9E3779B97F4A7C15)
    mask = np.uint64(keys.size - 1)
    powers = np.ones(lengths.size, dtype=np.uint64)
    for k in range(lengths.size):
        for _ in range(lengths[k]):
            powers[k] *= base
    before = np.zeros(hashes.size + 1, dtype=np.uint64)  # hashes of all prefixes; a run is a difference of two
    for i in range(hashes.size):
        before[i + 1] = before[i] * base + hashes[i]
    n = 0
    for row in range(offsets.size - 1):
        for at in range(offsets[row], offsets[row + 1]):
            for k in range(lengths.size):
                width = lengths[k]
                if at + width > offsets[row + 1]:
                    break
                value = before[at + width] - before[at] * powers[k] + np.uint64(width) * powers[k]
                value ^= value >> np.uint64(32)
                slot = value & mask
                while text[slot] >= 0 and keys[slot] != value:
                    slot = (slot + np.uint64(1)) & mask
                if text[slot] >= 0:
                    if n < found.shape[0]:
                        found[n, 0] = row
                        found[n, 1] = at - offsets[row]
                        found[n, 2] = slot
                    n += 1
    return n
