"""Identity of texts: content ids, and the normalised keys by which near-duplicates and contamination are found."""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Iterable

import polars as pl

from curation_pipeline.seeds import unit_hash

KEY_CHARS = 60
"""Two texts that agree in this many normalised characters from the start count as the same text."""

# Marks that ordinary spelling leaves out or that copies drop: accents, Hebrew and Arabic points, selectors of a glyph.
# The other scripts write vowels and tones as marks, which tell words apart.
_ACCENTS = (
    (0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05C7), (0x0610, 0x061A), (0x064B, 0x065F), (0x0670, 0x0670),
    (0x06D6, 0x06ED), (0x0711, 0x074A), (0x0898, 0x08FF), (0x180B, 0x180F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF), (0xFE00, 0xFE2F), (0xE0100, 0xE01EF),
)  # fmt: skip

MIN_PREFIX_CHARS = 20
"""A shorter key excludes only a text that equals it: as a prefix it would match by chance."""


def text_ids(texts: pl.Series) -> pl.Series:
    """Content ids: the first 128 bits, in hexadecimal, of the sha256 of each text in Unicode form NFC.

    Two encodings of the same characters have one id; a different byte anywhere else gives another.

    Args:
        texts: strings without nulls, length n.

    Returns:
        Utf8 of length n, 32 lower-case hexadecimal digits each.
    """
    # A loop over texts because polars has no cryptographic hash, and its normalisation does not skip plain ASCII.
    sha256, composed = hashlib.sha256, unicodedata.normalize
    values = (text if text.isascii() else composed("NFC", text) for text in texts.to_list())
    ids = [sha256(text.encode()).hexdigest()[:32] for text in values]
    return pl.Series("doc_id", ids, dtype=pl.Utf8)


def is_accent(char: str) -> bool:
    """Whether a character is a mark without which a word is the same word."""
    return unicodedata.category(char) in ("Mn", "Me") and any(low <= ord(char) <= high for low, high in _ACCENTS)


def normalised_keys(texts: pl.Series) -> pl.Series:
    """Each text in form NFKC, lower case, letters and digits only, cut to ``KEY_CHARS`` characters."""
    # A loop over texts: on heads this short it is several times faster than the regular expressions of polars.
    return pl.Series("key", [normalise_key(text) for text in texts.to_list()], dtype=pl.Utf8)


def normalise_key(text: str) -> str:
    """The key of one text, as in :func:`normalised_keys`."""
    # Twice as many raw characters hold enough letters for most prose; the whole text is needed for the rest only.
    key = _letters(text[: 2 * KEY_CHARS])
    if len(key) < KEY_CHARS and len(text) > 2 * KEY_CHARS:
        key = _letters(text[: 16 * KEY_CHARS])
        if len(key) < KEY_CHARS:
            key = _letters(text)
    return key[:KEY_CHARS]


_NOT_ALPHANUMERIC = bytes(code for code in range(128) if not chr(code).isalnum())


def _letters(text: str) -> str:
    """Form NFKC, lower case, letters and digits only; a mark that tells words apart becomes a letter."""
    if text.isascii():
        return text.lower().encode().translate(None, _NOT_ALPHANUMERIC).decode()
    return "".join(map(_letter, unicodedata.normalize("NFKC", text).lower()))


@functools.lru_cache(maxsize=65_536)
def _letter(char: str) -> str:
    if char.isalnum():
        return char
    if unicodedata.category(char)[0] != "M" or is_accent(char):
        return ""
    return chr(0x20000 + ord(char) % 0xA000)  # a rare ideograph


def starts_with_key(texts: pl.Series, keys: Iterable[str]) -> pl.Series:
    """Which texts are, or begin with, a text that one of ``keys`` was made from.

    Args:
        texts: strings, length n.
        keys: normalised keys (see :func:`normalise_key`); empty ones match nothing.

    Returns:
        Boolean of length n.
    """
    wanted = pl.Series("key", sorted({key for key in keys if key}), dtype=pl.Utf8)
    own = normalised_keys(texts)
    found = own.is_in(wanted.implode())
    lengths = wanted.str.len_chars()
    for length in lengths.filter(lengths.is_between(MIN_PREFIX_CHARS, KEY_CHARS - 1)).unique().sort():
        found = found | own.str.slice(0, length).is_in(wanted.filter(lengths == length).implode())
    return found.alias("excluded")


def near_duplicate_units(texts: pl.Series, seed: int) -> pl.Series:
    """A uniform number in (0, 1) per text that near-duplicates (same key) share, so that no split can part them."""
    keys = normalised_keys(texts)
    grouped = pl.select(pl.when(keys == "").then(texts).otherwise(keys)).to_series()
    return pl.Series("unit", unit_hash(text_ids(grouped), seed), dtype=pl.Float64)
