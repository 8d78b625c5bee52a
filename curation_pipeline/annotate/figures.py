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

from curation_pipeline.annotate.quality.compiled import compiled
from curation_pipeline.annotate.wordhash import TABLE_SIZE, _table, utf8

_NUMBER, _SIGN, _OPERATOR, _MINUS, _POINT = range(1, 6)
"""Kinds of characters: digits and numerals; signs that say something wherever they stand; those that do so between
numbers (as ``*``, which also makes lists); the minus, which may also stand before one; those inside of a number."""

WINDOW = 64
"""Words and signs after a figure among which the next two words are looked for."""

_SAME = {"\u00d7": "*", "\u22c5": "*", "\u2217": "*", "\u00f7": "/", "\u2215": "/", "\u2044": "/"}


def _kind(char: str) -> tuple[int, str]:
    category = unicodedata.category(char)
    if category[0] == "N" or (category == "Lo" and unicodedata.numeric(char, None) is not None):
        return _NUMBER, char
    if category == "Pd" or char == "\u2212":
        return _MINUS, "-"
    folded = _SAME.get(char) or unicodedata.normalize("NFKC", char)
    if folded in (".", ",", ":"):
        return _POINT, folded
    if folded in ("*", "/", "^", "|", "~"):
        return _OPERATOR, folded
    if category in ("Sm", "Sc") or folded == "%" or (category == "So" and char >= "\u2600"):
        return _SIGN, folded[0]
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
    _figures(raw, ends, _table(), _kinds(), short, *scratch, out, offsets)
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


@compiled
def _figures(
    raw: np.ndarray,
    ends: np.ndarray,
    table: np.ndarray,
    kinds: np.ndarray,
    short: int,
    hashes: np.ndarray,
    classes: np.ndarray,
    out: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Divide each text into words and signs as ``wordhash`` divides words, then hash the runs of figures."""
    seed = np.uint64(0x9E3779B97F4A7C15)
    prime = np.uint64(0x100000001B3)
    first_mix = np.uint64(0xBF58476D1CE4E5B9)
    upper = np.uint64(0xFFFFFFFF00000000)
    n_out = 0
    for row in range(ends.size - 1):
        at, stop = ends[row], ends[row + 1]
        n, n_words = 0, 0
        value = seed
        number = False  # whether the word that is being read holds one
        digit_before = False
        word_before = False
        while at <= stop:
            fate, letter, kind, sign = np.uint32(1), np.uint64(0), np.uint32(0), np.uint64(0)
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
                    fate, letter = table[point] & np.uint32(7), np.uint64(table[point] >> np.uint32(3))
                    kind, sign = kinds[point] & np.uint32(7), np.uint64(kinds[point] >> np.uint32(3))
                else:
                    fate, letter = np.uint32(3 if point < 0x40000 else 2), np.uint64(point)
            else:
                at += 1
            if fate == 2:
                continue
            if fate == 0 or fate == 4:
                value = (value ^ letter) * prime
                number |= kind == _NUMBER
                digit_before = kind == _NUMBER
                word_before = True
                continue
            if value != seed:
                hashes[n], classes[n] = value, _NUMBER if number else 0
                n, n_words = n + 1, n_words + 1
                value, number = seed, False
            if fate == 3:
                hashes[n], classes[n] = (seed ^ letter) * prime, kind
                n, n_words = n + 1, n_words + 1
            elif kind != 0:
                digit_after = at < stop and 48 <= raw[at] <= 57
                if kind == _MINUS and (word_before or not digit_after):
                    kind = np.uint32(_OPERATOR)
                if kind == _POINT:
                    kind = np.uint32(_OPERATOR if digit_before and digit_after else 0)
                if kind != 0:
                    # The minus of one number is another sign than that between two.
                    sign += np.uint64(1 << 33 if kind == _MINUS else 1 << 32)
                    hashes[n], classes[n] = (seed ^ sign) * prime, kind
                    n += 1
            digit_before = word_before = False
        first = n_out
        if 0 < n_words < short:
            whole = seed
            for i in range(n):
                between = 0 < i < n - 1 and classes[i - 1] == _NUMBER and classes[i + 1] == _NUMBER
                if classes[i] != _OPERATOR or between:
                    whole = (whole ^ hashes[i]) * first_mix
                    whole ^= whole >> np.uint64(29)
            out[n_out] = whole >> np.uint64(32)
            n_out += 1
        elif n_words > 0:
            before, last = seed, seed  # the two words that were read last
            i = 0
            while i < n:
                if classes[i] == 0:
                    before, last = last, hashes[i]
                    i += 1
                    continue
                if classes[i] == _OPERATOR:
                    i += 1
                    continue
                begin, previous = n_out, np.uint64(0)
                while i < n and classes[i] != 0:
                    if classes[i] == _OPERATOR and not (i + 1 < n and classes[i + 1] == _NUMBER):
                        break
                    if classes[i] == _NUMBER or hashes[i] != previous:
                        if previous != 0:
                            out[n_out] = (previous * prime ^ hashes[i]) * first_mix
                            n_out += 1
                        # A number with a sign is another than the bare number, so it counts with its sign only.
                        signed = classes[i] == _NUMBER and previous != 0 and classes[i - 1] != _NUMBER
                        if classes[i] == _NUMBER and i + 1 < n and classes[i + 1] > _NUMBER:
                            signed |= classes[i + 1] != _OPERATOR or (i + 2 < n and classes[i + 2] == _NUMBER)
                        if not signed:
                            out[n_out] = hashes[i] * first_mix
                            n_out += 1
                    previous = hashes[i]
                    i += 1
                around = (before * prime ^ last) * first_mix
                around ^= around >> np.uint64(31)
                found, j = 0, i
                while j < min(n, i + WINDOW) and found < 2:
                    if classes[j] == 0:
                        around = (around ^ hashes[j]) * first_mix
                        around ^= around >> np.uint64(29)
                        found += 1
                    j += 1
                around = (around + np.uint64(found)) * first_mix
                for j in range(begin, n_out):
                    # An upper half of zero is that of short texts.
                    out[j] = ((around | np.uint64(1 << 32)) & upper) | (out[j] >> np.uint64(32))
        if n_out > first + 1:
            run = out[first:n_out]
            run.sort()
        kept = first
        for i in range(first, n_out):
            if i == first or out[i] != out[kept - 1]:
                out[kept] = out[i]
                kept += 1
        n_out = kept
        offsets[row + 1] = n_out
