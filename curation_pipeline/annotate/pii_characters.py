"""The characters of numbers and addresses in their plain forms: what the patterns of personal data are compared with.

One item is written in many ways: full-width or Arabic-Indic digits, a full-width sign, a hyphen that breaks no line,
invisible characters in between. A plain text has ASCII characters for all of these and none of the invisible ones; its
places are known in the original, so that exactly the original is redacted.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
import unicodedata

import numpy as np
import polars as pl

LATIN = "A-Za-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff"
"""Letters of the Latin script, for a character class."""
WORD = f"0-9_{LATIN}"
"""What continues a number or a word of Latin letters; a letter of any other script is as good as a space."""
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1980-\u19df\u1a20-\u1aaf\ua960-\ua97f\ua980-\ua9ff\uaa60-\uaa7f"
    "\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30fa\u30fc-\u4dbf\u4e00-\ua4cf\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Letters of scripts that are written without spaces, or, as Korean, attach other words to a Latin one."""
MARKS = "\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0970-\u0dff"
"""Vowel signs and points of other scripts; regular expressions do not take them for parts of a word."""

_INVISIBLE = (
    "\u00ad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20d0-\u20ff\u3164\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\uffa0\ufff9-\ufffb"
)
_VARIANTS = (
    "\u2010-\u2012\u2024\u2212\u24b6-\u24e9\ufe50-\ufe6b\uff0b\uff0e\uff10-\uff19\uff20-\uff3a\uff3f\uff41-\uff5a\uff61"
)
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
# These are common, and of interest next to digits only.
_COMMON = f"\uff08[0-9]|[0-9]\uff09|[0-9)][{_SPACES}][0-9(]"
UNUSUAL = rf"[{_VARIANTS}{_INVISIBLE}\U0001d400-\U0001d7ff\U000e0000-\U000e0fff]|[\p{{Nd}}--[0-9]]|{_COMMON}"
"""A polars pattern of the texts whose plain form is another."""

# One class of near characters is looked up in a table; with a far one in it, its ranges are tried one by one.
_DIGITS = "".join(char for char in map(chr, range(0x660, 0x10000)) if char.isdecimal())
_variant = re.compile(f"[{_VARIANTS}{_SPACES}{_DIGITS}\uff08\uff09]")
_far = re.compile("[\U00010000-\U0010ffff]")
_invisible = re.compile(f"[{_INVISIBLE}]")


class Places:
    """Where the characters of a plain text stand in the original.

    Args:
        text: the original.

    Attributes:
        plain: the plain text.
        whole: the same with the invisible characters, as long as the original.
    """

    def __init__(self, text: str) -> None:
        self.whole = _variant.sub(_plain_match, text)
        if _far.search(text):
            self.whole = _far.sub(_plain_match, self.whole)
        gone = [match.start() for match in _invisible.finditer(self.whole)]
        self.plain = _invisible.sub("", self.whole) if gone else self.whole
        self._kept = np.delete(np.arange(len(text)), gone) if gone else None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that a span of the plain text came from."""
        if self._kept is None:
            return start, end
        return int(self._kept[start]), int(self._kept[end - 1]) + 1


def unusual(texts: pl.Series) -> pl.Series:
    """The rows, UInt32, of the texts whose plain form is another than the text."""
    rows = (texts.str.len_bytes() != texts.str.len_chars()).arg_true()
    return rows.filter(texts.gather(rows).str.contains(UNUSUAL))


def _plain_match(match: re.Match[str]) -> str:
    return _plain(match.group())


@functools.lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    """The one character that replaces this one in plain text."""
    if "\U000e0000" <= char <= "\U000e0fff":
        return "\u2060"  # tags and selectors: as invisible as this one
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Zs":
        return " "
    if char in "\u2010\u2011\u2012":
        return "-"
    folded = {"\u2212": "\u2013", "\uff61": "\u3002"}.get(char) or unicodedata.normalize("NFKC", char)
    return folded if len(folded) == 1 and (folded.isascii() or char in "\u2212\uff61") else char


@functools.cache
def unspaced_endings() -> str:
    """A pattern of the top-level domains in scripts without spaces, which nothing else sets apart from what follows."""
    listed = importlib.resources.files("tld").joinpath("res/effective_tld_names.dat.txt").read_text(encoding="utf-8")
    names = [line for line in listed.split() if re.fullmatch(f"[{UNSPACED}]+", line)]
    return "|".join(sorted(names, key=len, reverse=True))
