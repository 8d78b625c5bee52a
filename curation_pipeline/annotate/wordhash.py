"""Words of a text as 64-bit hashes: what near-duplicate search and contamination search compare.

Words are compared after the normalisation that the published pipelines agree on (FineWeb, Penedo et al. 2024,
arXiv:2406.17557; GPT-3, Brown et al. 2020, appendix C): lower case, no accents, no punctuation, white space collapsed.
Vowels and tones that a script writes as marks are no accents (``datasets.text.is_accent``).
One table says what becomes of each code point; both the compiled kernel, which reads UTF-8 at some hundred megabytes a
second, and the plain function ``words``, which serves exact comparison and the tests, follow it.
"""

from __future__ import annotations

import functools
import re
import unicodedata

import numpy as np
import polars as pl

from curation_pipeline.annotate import word_kernels
from curation_pipeline.annotate.word_kernels import (
    BREAK,
    DIGIT,
    FIRST_MIX,
    LAST_IDEOGRAPH,
    OTHER,
    PRIME,
    SECOND_MIX,
    SEED,
    SINGLE,
    SKIP,
    WORD,
)
from curation_pipeline.datasets.text import is_accent

TABLE_SIZE = 0x20000
"""Code points from here on are ideographs (planes 2 and 3) or invisible (tags, selectors, private use)."""

# Scripts that are written without spaces: every character is a word, or a text would be one word.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic marks
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # Katakana of half width
    (0x1B000, 0x1B16F),
)

# Letters of Korean and Japanese that are spelt as several code points, as some file systems do.
_APART = "[\u1100-\u11ff\u3099\u309a]"

_OTHER_CLASS = "".join(f"{chr(low)}-{chr(high)}" for low, high in OTHER)
_BORDER = re.compile(
    rf"[{_OTHER_CLASS}][0-9\0]*(?=[^\s0-9\0{_OTHER_CLASS}])|[^\s0-9\0{_OTHER_CLASS}][0-9\0]*(?=[{_OTHER_CLASS}])"
)

_DIGITS = re.compile("\0+")


def _fate(point: int) -> tuple[int, str]:
    """What becomes of a code point, and the letter it is folded to."""
    char = chr(point)
    category = unicodedata.category(char)
    if char in "'\u2019\u02bc" or category == "Cf" or is_accent(char):
        return SKIP, ""  # "don't" is one word, and an invisible joiner divides nothing
    if category == "Nd":
        return DIGIT, str(unicodedata.decimal(char))
    if category[0] in "PZCS":
        return BREAK, " "
    folded = char
    if unicodedata.decomposition(char):
        letters = [c for c in unicodedata.normalize("NFKD", char) if not is_accent(c)]
        if len(letters) == 1 and letters[0].isalnum():
            folded = letters[0]
    folded = folded.lower()[0]
    if any(low <= point <= high for low, high in _UNSPACED):
        return SINGLE, folded
    return WORD, folded


@functools.cache
def code_points() -> np.ndarray:
    """Of each code point, the kind in the low three bits and the letter above them; uint32 (TABLE_SIZE,)."""
    table = np.empty(TABLE_SIZE, dtype=np.uint32)
    for point in range(TABLE_SIZE):
        kind, letter = _fate(point)
        table[point] = (ord(letter) if letter else 0) << 3 | kind
    return table


class _Translation(dict[int, str]):
    """The same fates for ``str.translate``, worked out as they are met."""

    def __init__(self, fold_digits: bool) -> None:
        super().__init__()
        self.fold_digits = fold_digits

    def __missing__(self, point: int) -> str:
        if point >= TABLE_SIZE:
            kind, letter = (SINGLE, chr(point)) if point < LAST_IDEOGRAPH else (SKIP, "")
        else:
            kind, letter = _fate(point)
        if kind == DIGIT and self.fold_digits:
            letter = "\0"
        self[point] = f" {letter} " if kind == SINGLE else letter
        return self[point]


@functools.cache
def _translation(fold_digits: bool) -> _Translation:
    return _Translation(fold_digits)


def words(text: str, fold_digits: bool = False) -> list[str]:
    """The normalised words of a text.

    Lower case, accents and apostrophes dropped, punctuation and symbols as word breaks, and the border of Latin letters
    with those of another script, which may attach to them; a character of a script without spaces is a word of its own.

    Args:
        text: any text.
        fold_digits: write every run of digits as one "0", so that dates and counters do not set copies apart.
    """
    if re.search(_APART, text):
        text = unicodedata.normalize("NFC", text)
    folded = _BORDER.sub(r"\g<0> ", text.translate(_translation(fold_digits)))
    if fold_digits:
        folded = _DIGITS.sub("0", folded)
    return folded.split()


def mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014), elementwise on uint64."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * FIRST_MIX
        value = (value ^ (value >> np.uint64(27))) * SECOND_MIX
    return np.asarray(value ^ (value >> np.uint64(31)))


def utf8(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts end to end, uint8, and the n + 1 offsets, int64; a null counts as an empty text."""
    import pyarrow as pa

    array = texts.cast(pl.Utf8).fill_null("").rechunk().to_arrow().cast(pa.large_string())
    _, offsets, data = array.buffers()
    if len(array) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data if data is not None else b"", dtype=np.uint8), ends


def strings(raw: np.ndarray, ends: np.ndarray) -> pl.Series:
    """The n strings whose UTF-8, uint8, lies end to end, with their n + 1 offsets, int64: what `utf8` takes apart."""
    import pyarrow as pa

    array = pa.LargeStringArray.from_buffers(ends.size - 1, pa.py_buffer(ends), pa.py_buffer(raw))
    return pl.Series(pl.from_arrow(array), dtype=pl.Utf8)


def word_hashes(texts: pl.Series, fold_digits: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The hash of every word of every text, as ``words`` divides them.

    Args:
        texts: n texts.
        fold_digits: as in ``words``.

    Returns:
        uint64 hashes of all words end to end, and int64 (n + 1,) offsets of the texts in them.
    """
    apart = (texts.str.len_bytes() != texts.str.len_chars()).arg_true()
    apart = apart.filter(texts.gather(apart).str.contains(_APART))
    if len(apart):
        texts = texts.scatter(apart, texts.gather(apart).str.normalize("NFC"))
    raw, ends = utf8(texts)
    # Of two neighbouring words one takes two bytes at least, or a break lies between them.
    out = np.empty(int(ends[-1] - ends[0]) * 2 // 3 + len(texts) + 1, dtype=np.uint64)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    if len(texts):
        word_kernels.hash_words(raw, ends, code_points(), fold_digits, out, offsets)
    return out[: offsets[-1]], offsets


def hash_words(parts: list[str]) -> np.ndarray:
    """The hashes that ``word_hashes`` gives to these words, by the plain route; uint64 (len(parts),)."""
    mask = (1 << 64) - 1
    values = []
    for part in parts:
        value = int(SEED)
        for char in part:
            value = ((value ^ ord(char)) * int(PRIME)) & mask
        values.append(value)
    return mix(np.array(values, dtype=np.uint64))
