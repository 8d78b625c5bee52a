"""Figures of a text: numbers with their signs, and pictographs, each with the words around it.

Two texts may share nearly all words and yet say different things: two roads, two sums, two moods. Where both have a
figure that the other lacks between the same words, one is no copy of the other, however long what they share is. A
text that lacks a figure altogether may be a shortened copy.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable

import numpy as np
import polars as pl

from curation_pipeline.annotate.word_kernels import MINUS, NUMBER, OPERATOR, POINT, SIGN, hash_figures
from curation_pipeline.annotate.wordhash import TABLE_SIZE, code_points, utf8

_SAME = {"\u00d7": "*", "\u22c5": "*", "\u2217": "*", "\u00f7": "/", "\u2215": "/", "\u2044": "/"}


def _kind(char: str) -> tuple[int, str]:
    category = unicodedata.category(char)
    if category[0] == "N" or (category == "Lo" and unicodedata.numeric(char, None) is not None):
        return NUMBER, char
    if category == "Pd" or char == "\u2212":
        return MINUS, "-"
    folded = _SAME.get(char) or unicodedata.normalize("NFKC", char)
    if folded in (".", ",", ":"):
        return POINT, folded
    if folded in ("*", "/", "^", "|", "~"):
        return OPERATOR, folded
    if category in ("Sm", "Sc") or folded == "%" or (category == "So" and char >= "\u2600"):
        return SIGN, folded[0]
    return 0, "\0"


@functools.cache
def _kinds() -> np.ndarray:
    """Of each code point, the kind in the low three bits and the character it counts as above; uint32."""
    table = np.empty(TABLE_SIZE, dtype=np.uint32)
    for point in range(TABLE_SIZE):
        kind, char = _kind(chr(point))
        table[point] = ord(char) << 3 | kind
    return table


def figures(texts: pl.Series, short: int) -> pl.Series:
    """The figures of each text.

    Args:
        texts: n texts.
        short: a text of fewer words is one figure, with all its words and signs in their order.

    Returns:
        n lists of distinct UInt64, ascending: in the upper half a hash of the two words before and after, in the lower
        one of a number or sign, or of two that follow each other.
    """
    import pyarrow as pa

    raw, ends = utf8(texts)
    longest = int(np.diff(ends).max(initial=0))
    out = np.empty(2 * int(ends[-1] - ends[0]) + len(texts), dtype=np.uint64)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    scratch = (np.empty(longest + 2, dtype=np.uint64), np.empty(longest + 2, dtype=np.uint8))
    hash_figures(raw, ends, code_points(), _kinds(), short, *scratch, out, offsets)
    lists = pa.LargeListArray.from_arrays(offsets, out[: offsets[-1]].copy())
    return pl.Series("figures", pl.from_arrow(lists), dtype=pl.List(pl.UInt64))


def differ(one: Iterable[int], other: Iterable[int]) -> bool:
    """Whether of two texts' figures each has one that the other lacks between the same words."""
    left, right = set(one), set(other)
    return not {value >> 32 for value in left - right}.isdisjoint(value >> 32 for value in right - left)


def as_arrays(lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All figures end to end, and the n + 1 offsets of the texts in them."""
    offsets = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy())]).astype(np.int64)
    values = lists.explode(empty_as_null=False).to_numpy() if offsets[-1] else np.empty(0, dtype=np.uint64)
    return np.ascontiguousarray(values, dtype=np.uint64), offsets
