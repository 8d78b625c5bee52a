r"""What kind of character each byte of many texts belongs to: what the compiled loops over words ask.

The kinds are those of Polars' regular expressions (``\p{L}``, ``\s``), which say what a word is elsewhere too, so that
a loop and a pattern never disagree about a letter that one of them does not know yet.
"""

from __future__ import annotations

import functools
import re

import numpy as np
import polars as pl

from curation_pipeline.annotate.word_kernels import classify
from curation_pipeline.annotate.wordhash import utf8

SPACE, LETTER, MARK, NUMBER, PUNCTUATION, CAPITAL, LATIN, WORD = (np.uint8(1 << bit) for bit in range(8))
"""Bits of a kind: white space; letters; combining marks; numbers; punctuation; capitals; what continues a word of Latin
letters (see ``identity.whole_words``); what Python's ``\\w`` matches."""

CODE_POINTS = 0x110000
_PATTERNS = {
    SPACE: r"\s",
    LETTER: r"\p{L}",
    MARK: r"\p{M}",
    NUMBER: r"\p{N}",
    PUNCTUATION: r"\p{P}",
    CAPITAL: r"\p{Lu}",
    LATIN: r"(?i)[\p{Latin}\u0300-\u036F\p{Nd}_]",
}


@functools.cache
def class_table() -> np.ndarray:
    """The bits of each code point, uint8 (CODE_POINTS,); a third of a second the first time, then kept."""
    table = np.zeros(CODE_POINTS, dtype=np.uint8)
    for bit, pattern in _PATTERNS.items():
        table[matched_by(pattern)] |= bit
    for match in re.finditer(r"\w+", _every()):
        table[ord(match.group()[0]) : ord(match.group()[-1]) + 1] |= WORD
    table[0xD800:0xE000] = 0
    return table


def matched_by(characters: str) -> np.ndarray:
    r"""Which code points a class of characters of Polars' patterns matches, such as ``\p{L}``; bool (CODE_POINTS,)."""
    found = np.zeros(CODE_POINTS, dtype=bool)
    for run in pl.Series([_every()]).str.extract_all(f"{characters}+")[0]:
        found[ord(run[0]) : ord(run[-1]) + 1] = True
    found[0xD800:0xE000] = False
    return found


@functools.cache
def _every() -> str:
    return "".join(map(chr, (*range(0xD800), *range(0xE000, CODE_POINTS))))


def classed(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes of n texts and the kind of each.

    Args:
        texts: n strings; a null counts as empty.

    Returns:
        The texts in UTF-8 end to end, uint8 (b,); bits of the character that each byte is part of, uint8 (b,); and
        int64 (n + 1,) offsets of the texts in them, from 0.
    """
    raw, ends = utf8(texts)
    raw, ends = raw[ends[0] : ends[-1]], ends - ends[0]
    return raw, classes_of(raw, class_table()), ends


def classes_of(raw: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The entry of ``table``, uint8 (CODE_POINTS,), for the character that each byte of UTF-8 text is part of."""
    out = np.empty(raw.size, dtype=np.uint8)
    classify(raw, table, out)
    return out
