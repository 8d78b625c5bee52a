"""Words, pairs of words and pieces of words as hashed features: what a linear head reads.

Two blocks of 2 ** bits buckets each (feature hashing, Weinberger et al. 2009, without signs). The first counts words
and pairs of neighbouring words; the second counts character n-grams of 3 to 5 inside of each word with its boundaries
(as in Bojanowski et al. 2017), which know a misspelt word by its pieces. A count enters as its square root, times the
weight of its bucket where there are any, and each block of a text has unit Euclidean length.

Only integer arithmetic and the four exactly rounded operations (square root among them) are used, in a fixed order, so
a text has the same features to the last bit on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.wordhash import _OTHER, _table, jit, utf8

NGRAMS = (3, 5)
"""Shortest and longest piece of a word, boundaries counted as characters."""
VERSION = 2
"""Of what the features mean; part of the version of every model fitted on them."""

_STAR = 0x2A
_EDGE = 0x20


def subword_features(texts: pl.Series, bits: int, weights: np.ndarray | None = None) -> Any:
    """Features of n texts.

    Case, accents and punctuation are dropped as in ``wordhash``, runs of digits are one, and an asterisk between two
    letters counts as a letter, so that a masked word stays one word.

    Args:
        texts: n strings.
        bits: 2 ** bits buckets in each of the two blocks.
        weights: float32 (2 ** (bits + 1),) a factor for each bucket (such as inverse document frequency), or None.

    Returns:
        scipy CSR float32 (n, 2 ** (bits + 1)), columns sorted within a row; a text without words has none.
    """
    from scipy import sparse

    raw, ends = utf8(texts)
    # A word of L letters gives itself, a pair and 3 L pieces at most.
    room = 5 * int(ends[-1] - ends[0]) + 8
    columns = np.empty(room, dtype=np.int32)
    values = np.empty(room, dtype=np.float32)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    longest = int(np.diff(ends).max(initial=0))
    factor = np.ones(1, dtype=np.float32) if weights is None else np.ascontiguousarray(weights, dtype=np.float32)
    if len(texts):
        _kernel()(raw, ends, _table(), bits, factor, np.empty(longest + 3, np.uint64), columns, values, offsets)
    used = int(offsets[-1])
    shape = (len(texts), 2 << bits)
    return sparse.csr_matrix((values[:used].copy(), columns[:used].copy(), offsets), shape=shape)


def inverse_document_frequency(features: Any, least: int = 2) -> np.ndarray:
    """log((1 + n) / (1 + df)) + 1 of every bucket of n texts' features; 0 for one met in fewer than ``least`` texts.

    Returns:
        float32 (columns of ``features``,).
    """
    frequency = features.getnnz(axis=0).astype(np.float64)
    weight = np.log((1.0 + features.shape[0]) / (1.0 + frequency)) + 1.0
    return np.asarray(np.where(frequency >= least, weight, 0.0), dtype=np.float32)


@functools.cache
def _kernel() -> Callable[..., None]:
    return jit(_hash_subwords)


def _hash_subwords(
    raw: np.ndarray,
    ends: np.ndarray,
    table: np.ndarray,
    bits: int,
    factor: np.ndarray,
    word: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """One pass over the bytes: decode, fold, close words, hash them and their pieces, then count within each text."""
    seed = np.uint64(0x9E3779B97F4A7C15)
    prime = np.uint64(0x100000001B3)
    first_mix = np.uint64(0xBF58476D1CE4E5B9)
    second_mix = np.uint64(0x94D049BB133111EB)
    mask = np.uint64((1 << bits) - 1)
    block = np.int32(1 << bits)
    weighted = factor.size > 1
    out = 0
    for row in range(ends.size - 1):
        at, stop = ends[row], ends[row + 1]
        first = out
        size = 1  # word[0] is the boundary
        word[0] = np.uint64(_EDGE)
        digit_before = False
        before = np.uint64(0)
        script = 0
        while at <= stop:
            begin = at
            kind = np.uint32(1)  # past the last byte a word ends
            letter = np.uint64(0)
            single = False
            if at < stop:
                point = np.uint32(raw[at])
                at += 1
                if point >= 0x80:
                    extra = 1 if point < 0xE0 else 2 if point < 0xF0 else 3
                    point &= np.uint32(0x3F >> extra)
                    for _ in range(extra):
                        point = (point << np.uint32(6)) | np.uint32(raw[at] & 0x3F)
                        at += 1
                if point < table.size:
                    kind = table[point] & np.uint32(7)
                    letter = np.uint64(table[point] >> np.uint32(3))
                else:
                    kind = np.uint32(3) if point < 0x40000 else np.uint32(2)
                    letter = np.uint64(point)
                if point == _STAR and size > 1 and at < stop and (raw[at] | 0x20) >= 97 and (raw[at] | 0x20) <= 122:
                    kind = np.uint32(0)
                    letter = np.uint64(_STAR)
            else:
                at += 1
            if kind == 2:
                continue
            if kind == 0 and letter > 57:
                own = 1
                for k in range(len(_OTHER)):
                    if _OTHER[k][0] <= letter <= _OTHER[k][1]:
                        own = 2
                if script != 0 and own != script and size > 1:
                    at, kind = begin, np.uint32(1)  # the word ends here, and the letter is read again
                else:
                    script = own
            if kind == 0:
                word[size] = letter
                size += 1
                digit_before = False
                continue
            if kind == 4:
                if not digit_before:
                    word[size] = np.uint64(48)
                    size += 1
                digit_before = True
                continue
            single = kind == 3
            digit_before = False
            script = 0
            # A break closes the word before it; a letter of a script without spaces is then a word of its own.
            while size > 1 or single:
                if size == 1:
                    word[1] = letter
                    size = 2
                    single = False
                word[size] = np.uint64(_EDGE)
                value = seed
                for i in range(1, size):
                    value = (value ^ word[i]) * prime
                value = (value ^ (value >> np.uint64(30))) * first_mix
                value = (value ^ (value >> np.uint64(27))) * second_mix
                value ^= value >> np.uint64(31)
                columns[out] = np.int32((value >> np.uint64(17)) & mask)
                out += 1
                if before != 0:
                    pair = (before * prime ^ (value + seed)) * first_mix
                    pair = (pair ^ (pair >> np.uint64(27))) * second_mix
                    columns[out] = np.int32((pair >> np.uint64(33)) & mask)
                    out += 1
                before = value
                for start in range(size - 1):
                    value = seed ^ prime
                    for i in range(start, min(start + 5, size + 1)):
                        value = (value ^ word[i]) * prime
                        if i - start >= 2:
                            mixed = (value ^ (value >> np.uint64(30))) * first_mix
                            mixed = (mixed ^ (mixed >> np.uint64(27))) * second_mix
                            columns[out] = block + np.int32((mixed >> np.uint64(33)) & mask)
                            out += 1
                size = 1
        found = columns[first:out]
        found.sort()
        # Count equal columns in place, then scale each block to unit length.
        end = first
        place = first
        squares_words = 0.0
        squares_pieces = 0.0
        while place < out:
            column = columns[place]
            count = 1
            while place + count < out and columns[place + count] == column:
                count += 1
            value_of = np.sqrt(np.float64(count))
            if weighted:
                value_of *= np.float64(factor[column])
            place += count
            if value_of > 0.0:
                columns[end] = column
                values[end] = np.float32(value_of)
                if column < block:
                    squares_words += value_of * value_of
                else:
                    squares_pieces += value_of * value_of
                end += 1
        for i in range(first, end):
            squares = squares_words if columns[i] < block else squares_pieces
            values[i] = np.float32(np.float64(values[i]) / np.sqrt(squares))
        out = end
        offsets[row + 1] = end
