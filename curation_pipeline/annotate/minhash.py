"""MinHash signatures over word shingles, and the figures that tell texts of one signature apart (``minhash@2``).

The share of equal minima in two signatures estimates the Jaccard similarity of the two sets of shingles (Broder 1997,
"On the resemblance and containment of documents"), with standard error sqrt(s (1 - s) / n).

One compiled pass rolls the shingle hashes over the words and keeps the minima of n permutations x -> a x + c modulo
2**32 (a odd), eight lanes at once: a library that takes a list of shingles, as rensa does, spends more on making that
list than on the minima. Measured against datatrove in ``benchmarks/near_duplicates.py``.
"""

from __future__ import annotations

import functools

import numpy as np
import polars as pl

from curation_pipeline import seeds
from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.figures import figures
from curation_pipeline.annotate.wordhash import utf8, word_hashes

VERSION = 2


def schema(settings: DuplicatesSettings) -> dict[str, pl.DataType]:
    """Columns of the table: ``doc_id``, ``signature`` and ``figures`` (see ``figures``)."""
    signature = pl.Array(pl.UInt32, settings.n_hashes)
    return {"doc_id": pl.Utf8(), "signature": signature, "figures": pl.List(pl.UInt64())}


SCHEMA = schema(DuplicatesSettings())


def minhash_signatures(documents: pl.DataFrame, settings: DuplicatesSettings | None = None) -> pl.DataFrame:
    """The signature of each document.

    Shingles are runs of ``shingle_words`` normalised words (see ``wordhash.words``).
    A text with fewer words is one shingle, so it is a near duplicate only of texts with the same words; a text
    without any word (only symbols, or empty) is one shingle of its bytes as they are.

    Args:
        documents: columns ``doc_id`` and ``text``.
        settings: size of signatures and shingles; with ``fold_digits`` every run of digits is one digit, and there
            are no figures.

    Returns:
        One row a document, in order, with the columns of ``schema(settings)``. They depend on the text and the settings
        alone.
    """
    chosen = settings or DuplicatesSettings()
    texts = documents["text"]
    found = pl.Series([[]], dtype=pl.List(pl.UInt64)).new_from_index(0, len(texts))
    return pl.DataFrame(
        {
            "doc_id": documents["doc_id"].cast(pl.Utf8),
            "signature": pl.Series(signatures_of(texts, chosen), dtype=pl.Array(pl.UInt32, chosen.n_hashes)),
            "figures": found if chosen.fold_digits else figures(texts, chosen.shingle_words),
        }
    )


def signatures_of(texts: pl.Series, settings: DuplicatesSettings) -> np.ndarray:
    """``minhash_signatures`` as an array: uint32 (n, n_hashes)."""
    factors, terms = _permutations(settings)
    out = np.full((len(texts), settings.n_hashes), np.iinfo(np.uint32).max, dtype=np.uint32)
    if len(texts) == 0:
        return out
    hashes, offsets = word_hashes(texts, settings.fold_digits)
    raw, ends = utf8(texts)
    _minima(hashes, offsets, raw, ends, settings.shingle_words, factors, terms, out)
    return out


@functools.lru_cache(maxsize=8)
def _permutations(settings: DuplicatesSettings) -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and terms of the permutations, uint32 (n_hashes,) each."""
    random = seeds.generator(settings.seed, "minhash")
    factors = random.integers(0, 2**32, settings.n_hashes, dtype=np.uint32) | np.uint32(1)
    return factors, random.integers(0, 2**32, settings.n_hashes, dtype=np.uint32)


@compiled
def _minima(
    words: np.ndarray,
    offsets: np.ndarray,
    raw: np.ndarray,
    ends: np.ndarray,
    width: int,
    factors: np.ndarray,
    terms: np.ndarray,
    out: np.ndarray,
) -> None:
    """Roll a polynomial hash over the words of each text and fold each shingle into the row of minima."""
    base = np.uint64(0x9E3779B97F4A7C15)
    leaving = np.uint64(1)
    for _ in range(width):
        leaving *= base
    for row in range(offsets.size - 1):
        minima = out[row]
        start = offsets[row]
        stop = offsets[row + 1]
        value = np.uint64(0)
        # A text without words enters its bytes instead, all of them as one shingle.
        bare = start == stop
        length = ends[row + 1] - ends[row] if bare else stop - start
        for i in range(max(length, 1)):
            if bare:
                if i < length:
                    value = value * base + np.uint64(raw[ends[row] + i]) + np.uint64(1)
            else:
                value = value * base + words[start + i]
                if i >= width:
                    value -= leaving * words[start + i - width]
            if i < length - 1 and (bare or i < width - 1):
                continue
            mixed = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            shingle = np.uint32(mixed ^ (mixed >> np.uint64(31)))
            for j in range(factors.size):
                minima[j] = min(minima[j], np.uint32(np.uint32(shingle * factors[j]) + terms[j]))
