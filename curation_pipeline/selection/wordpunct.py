r"""Runs of word characters and runs of punctuation as 64-bit hashes: the tokens that DSIR's published code counts.

A token is what the regular expression ``\w+|[^\w\s]+`` finds in the text in lower case, as NLTK's WordPunct tokeniser
divides it. (`annotate.wordhash` drops punctuation and accents, which is right for finding copies; here the punctuation
of a register is part of what tells it from another.)
"""

from __future__ import annotations

import functools

import numpy as np
import polars as pl

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.wordhash import utf8

_SPACE, _WORD, _PUNCTUATION = range(3)
_CODE_POINTS = 0x110000


def token_hashes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The hash of every token of every text.

    Args:
        texts: n texts; a null counts as empty.

    Returns:
        uint64 hashes of all tokens end to end, and int64 (n + 1,) offsets of the texts in them.
    """
    raw, ends = utf8(texts.cast(pl.Utf8).str.to_lowercase())
    out = np.empty(int(ends[-1] - ends[0]), dtype=np.uint64)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    if len(texts):
        _hash_tokens(raw, ends, _kinds(), out, offsets)
    return out[: offsets[-1]].copy(), offsets


@functools.cache
def _kinds() -> np.ndarray:
    """Of each code point, whether it is white space, a word character or punctuation; uint8."""
    kinds = np.full(_CODE_POINTS, _PUNCTUATION, dtype=np.uint8)
    for point in range(_CODE_POINTS):
        char = chr(point)
        if char.isalnum() or char == "_":
            kinds[point] = _WORD
        elif char.isspace():
            kinds[point] = _SPACE
    return kinds


@compiled
def _hash_tokens(raw: np.ndarray, ends: np.ndarray, kinds: np.ndarray, out: np.ndarray, offsets: np.ndarray) -> None:
    """Decode UTF-8 and hash the code points of a token by FNV-1a, mixed at its end as splitmix64 does."""
    seed = np.uint64(0x9E3779B97F4A7C15)
    prime = np.uint64(0x100000001B3)
    count = 0
    for row in range(ends.size - 1):
        at, stop = ends[row], ends[row + 1]
        value, current = seed, _SPACE
        while at <= stop:
            kind, point = _SPACE, np.uint32(0)
            if at < stop:
                point = np.uint32(raw[at])
                if point >= 0x80:
                    extra = 1 if point < 0xE0 else 2 if point < 0xF0 else 3
                    point &= np.uint32(0x3F >> extra)
                    for step in range(extra):
                        point = (point << np.uint32(6)) | np.uint32(raw[at + 1 + step] & 0x3F)
                    at += extra
                kind = kinds[point]
            at += 1
            if kind != current:
                if current != _SPACE:
                    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                    out[count] = value ^ (value >> np.uint64(31))
                    count += 1
                value, current = seed, kind
            value = (value ^ np.uint64(point)) * prime
        offsets[row + 1] = count
