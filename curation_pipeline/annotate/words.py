"""Words of many documents at once, as codes into a table of distinct words.

Everything that is known of a word (its hash, whether it is a pronoun) is looked up once for each distinct word of a
chunk, and summed over documents as a product of matrices; no Python loop runs over words.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.characters import LETTER, MARK, NUMBER, classed
from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.interning import intern, spelled

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of n documents, m in all, u of them distinct.

    Attributes:
        codes: int32 (m,), indices into ``table``, in the order of the text.
        offsets: int64 (n + 1,): document i holds codes[offsets[i]:offsets[i + 1]].
        table: the u distinct words in lower case, with straight apostrophes.
        hashes: uint64 (u,): CRC-32 of a word's UTF-8, the same on every machine and in every version.
    """

    codes: np.ndarray
    offsets: np.ndarray
    table: pl.Series
    hashes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Words in each document, int64 (n,)."""
        return np.diff(self.offsets)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over each document's words of ``values``, one row a distinct word: (u, k) gives float64 (n, k)."""
        return np.asarray(self._matrix(self.codes, self.offsets, len(self.table)) @ values.astype(np.float64))

    def buckets(self, bits: int, pairs: bool) -> Any:
        """Hashed bags of words (Weinberger et al. 2009, without signs), rows of unit Euclidean length.

        Args:
            bits: 2 ** bits buckets.
            pairs: count pairs of neighbouring words too.

        Returns:
            scipy CSR float32 (n, 2 ** bits): the square root of the count in a bucket, scaled.
        """
        from scipy import sparse

        n = len(self.offsets) - 1
        columns = np.empty(len(self.codes) * (2 if pairs else 1), dtype=np.int32)
        values = np.empty(columns.size, dtype=np.float32)
        offsets = np.zeros(n + 1, dtype=np.int64)
        _bag(self.codes, self.offsets, self.hashes, bits, pairs, columns, values, offsets)
        used = int(offsets[-1])
        return sparse.csr_matrix((values[:used].copy(), columns[:used].copy(), offsets), shape=(n, 1 << bits))

    @staticmethod
    def _matrix(columns: np.ndarray, offsets: np.ndarray, width: int) -> Any:
        from scipy import sparse

        ones = np.ones(len(columns), dtype=np.float32)
        return sparse.csr_matrix((ones, columns, offsets), shape=(len(offsets) - 1, width))


def words_of(texts: pl.Series) -> Words:
    r"""Split n texts into words: runs of letters with apostrophes inside, or of digits with points and commas.

    As a pattern: ``\p{L}[\p{L}\p{M}]*(?:['\u2019][\p{L}\p{M}]+)*|\p{N}[\p{N}.,]*``.

    Args:
        texts: n strings, any Unicode.
    """
    raw, kinds, ends = classed(texts.str.to_lowercase().str.replace_all("\u2019", "'", literal=True))
    starts = np.empty(raw.size, dtype=np.int64)
    stops = np.empty(raw.size, dtype=np.int64)
    offsets = np.zeros(ends.size, dtype=np.int64)
    _split(raw, kinds, ends, starts, stops, offsets)
    starts, stops = starts[: offsets[-1]], stops[: offsets[-1]]
    codes, first = intern(raw, starts, stops)
    table = spelled(raw, starts[first], stops[first]).alias("word")
    # A C call for each distinct word, of which there are few.
    hashes = np.fromiter((zlib.crc32(word.encode()) for word in table.to_list()), dtype=np.uint64, count=len(table))
    return Words(codes, offsets, table, hashes)


@compiled
def _split(
    raw: np.ndarray, kinds: np.ndarray, ends: np.ndarray, starts: np.ndarray, stops: np.ndarray, offsets: np.ndarray
) -> None:
    """Where each word begins and stops, in text whose apostrophes are straight."""
    n = 0
    for row in range(ends.size - 1):
        at, end = ends[row], ends[row + 1]
        while at < end:
            if kinds[at] & LETTER:
                starts[n] = at
                while at < end and kinds[at] & (LETTER | MARK):
                    at += 1
                    while at + 1 < end and raw[at] == 39 and kinds[at + 1] & (LETTER | MARK):
                        at += 1
                stops[n] = at
                n += 1
            elif kinds[at] & NUMBER:
                starts[n] = at
                while at < end and (kinds[at] & NUMBER or raw[at] == 46 or raw[at] == 44):
                    at += 1
                stops[n] = at
                n += 1
            else:
                at += 1
        offsets[row + 1] = n


@compiled
def _bag(
    codes: np.ndarray,
    offsets: np.ndarray,
    hashes: np.ndarray,
    bits: int,
    pairs: bool,
    columns: np.ndarray,
    values: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Count the buckets of each document's words and pairs, and scale the square roots to unit length."""
    mask = np.uint64((1 << bits) - 1)
    n = 0
    for row in range(offsets.size - 1):
        first = n
        for place in range(offsets[row], offsets[row + 1]):
            own = hashes[codes[place]]
            columns[n] = np.int32(((own * _MIX) >> np.uint64(40)) & mask)
            n += 1
            if pairs and place + 1 < offsets[row + 1]:
                pair = ((own * np.uint64(0x100000001B3)) ^ (hashes[codes[place + 1]] + _MIX)) * _MIX
                columns[n] = np.int32((pair >> np.uint64(40)) & mask)
                n += 1
        found = columns[first:n]
        found.sort()
        kept, place = first, first
        squares = np.float32(0.0)
        while place < n:
            count = 1
            while place + count < n and columns[place + count] == columns[place]:
                count += 1
            columns[kept], values[kept] = columns[place], np.sqrt(np.float32(count))
            squares += values[kept] * values[kept]
            kept, place = kept + 1, place + count
        norm = np.sqrt(squares)
        for i in range(first, kept):
            values[i] /= norm
        n = kept
        ends[row + 1] = n
