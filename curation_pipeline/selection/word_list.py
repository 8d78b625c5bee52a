"""How many words and phrases of a list stand in each text: the flag that manual filters call a word list.

Words are compared as near-duplicate search compares them (`annotate.wordhash`): lower case, no accents, no punctuation.
A word of the list matches whole words only, so that a place name which contains it passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.annotate.wordhash import hash_words, mix, word_hashes, words


def word_list_hits(texts: pl.Series, phrases: Sequence[str]) -> npt.NDArray[np.int64]:
    """Occurrences (n,) of the list's entries in each text; a null text has none.

    Args:
        texts: n texts.
        phrases: words, or phrases of several words in a row; entries without a letter or digit are ignored.
    """
    by_length: dict[int, list[np.ndarray]] = defaultdict(list)
    for phrase in phrases:
        parts = words(phrase)
        if parts:
            by_length[len(parts)].append(hash_words(parts))
    hashes, offsets = word_hashes(texts)
    text = np.repeat(np.arange(len(texts)), np.diff(offsets))
    hits = np.zeros(len(texts), np.int64)
    for length, wanted in by_length.items():
        found = np.isin(rolling(hashes, length), rolling(np.concatenate(wanted), length)[::length])
        starts = np.flatnonzero(found)
        inside = text[starts] == text[starts + length - 1]
        hits += np.bincount(text[starts[inside]], minlength=len(texts))
    return hits


def rolling(hashes: np.ndarray, length: int) -> np.ndarray:
    """One uint64 for each run of ``length`` words in a row, (max(m - length + 1, 0),), of m hashes of words."""
    m = max(len(hashes) - length + 1, 0)
    value = hashes[:m].copy()
    with np.errstate(over="ignore"):
        for step in range(1, length):
            value = mix(value * np.uint64(0x9E3779B97F4A7C15) + hashes[step : step + m])
    return value
