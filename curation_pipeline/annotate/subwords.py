"""Words, pairs of words and pieces of words as hashed features: what a linear head reads.

Two blocks of 2 ** bits buckets each (feature hashing, Weinberger et al. 2009, without signs). The first counts words
and pairs of neighbouring words; the second counts character n-grams of 3 to 5 inside of each word with its boundaries
(as in Bojanowski et al. 2017), which know a misspelt word by its pieces. A count enters as its square root, times the
weight of its bucket where there are any, and each block of a text has unit Euclidean length.

Only integer arithmetic and the four exactly rounded operations (square root among them) are used, in a fixed order, so
a text has the same features to the last bit on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.word_kernels import hash_subwords
from curation_pipeline.annotate.wordhash import code_points, utf8

VERSION = 2
"""Of what the features mean; part of the version of every model fitted on them."""


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
        word = np.empty(longest + 3, np.uint64)
        hash_subwords(raw, ends, code_points(), bits, factor, word, columns, values, offsets)
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
