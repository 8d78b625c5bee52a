"""Plain statistics of a text, and a quality heuristic made from them (annotation ``text_statistics@2``)."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import polars as pl

from curation_pipeline.annotate.characters import CAPITAL, LETTER, NUMBER, PUNCTUATION, SPACE, classed
from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.identity import identity_group
from curation_pipeline.annotate.lexicon import STOP_WORDS

VERSION = 2
DECIMALS = 4
TTR_WORDS = 256
"""Types are counted over the first words only: the ratio of types to tokens falls with length in any text."""
_SEED, _FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "n_chars": pl.Int32(),
    "n_words": pl.Int32(),
    "mean_word_length": pl.Float32(),
    "type_token_ratio": pl.Float32(),
    "punctuation_share": pl.Float32(),
    "uppercase_share": pl.Float32(),
    "stop_word_share": pl.Float32(),
    "compression_ratio": pl.Float32(),
    "quality": pl.Float32(),
    "identity_group": pl.Utf8(),
}


def text_statistics(documents: pl.DataFrame) -> pl.DataFrame:
    """Statistics of each document.

    * ``n_words``: runs of characters that are not white space; ``mean_word_length``: characters in them, per word.
    * ``type_token_ratio``: distinct lower-cased words over words, among the first 256.
    * ``punctuation_share``: of all characters; ``uppercase_share``: of all letters.
    * ``stop_word_share``: of all words, after dropping punctuation and case.
    * ``compression_ratio``: bytes after zlib level 1 over bytes before; above 1 for very short text.
    * ``quality``: see ``quality``; ``identity_group``: see ``identity``.

    Args:
        documents: columns ``doc_id`` and ``text``.

    Returns:
        One row a document, in order, with the columns of ``SCHEMA``; floats rounded to 4 decimals.
    """
    texts = documents["text"]
    counts = _counts(texts)
    return (
        documents.select("doc_id", identity_group=identity_group("text"))
        .with_columns(
            counts,
            # A C call for each document: two thirds of what all this takes, and its result is zlib's own.
            compression_ratio=pl.Series([_compression(value) for value in texts.to_list()], dtype=pl.Float64),
        )
        .with_columns(
            mean_word_length=_ratio(pl.col("solid"), pl.col("n_words")),
            type_token_ratio=_ratio(pl.col("types"), pl.col("n_words").clip(upper_bound=TTR_WORDS)),
            punctuation_share=_ratio(pl.col("punctuation"), pl.col("n_chars")),
            uppercase_share=_ratio(pl.col("capitals"), pl.col("letters")),
            stop_word_share=_ratio(pl.col("stop_words"), pl.col("n_words")),
        )
        .with_columns(quality=quality())
        .select(
            pl.col(name).round(DECIMALS).cast(dtype) if dtype == pl.Float32 else pl.col(name).cast(dtype)
            for name, dtype in SCHEMA.items()
        )
    )


_COUNTS = ("n_chars", "n_words", "solid", "punctuation", "letters", "capitals", "stop_words", "types")


def _counts(texts: pl.Series) -> list[pl.Series]:
    """The columns ``_COUNTS``: ``solid`` characters are no white space, ``types`` are those of the first words."""
    out = np.zeros((len(texts), len(_COUNTS)), dtype=np.int64)
    _count_characters(*classed(texts), out)
    _count_words(*classed(texts.str.to_lowercase()), _stop_words(), out)
    return [pl.Series(name, np.ascontiguousarray(out[:, i])) for i, name in enumerate(_COUNTS)]


@functools.cache
def _stop_words() -> np.ndarray:
    """Hashes of the stop words, uint64, in an open-addressed table; 0 where free."""
    table = np.zeros(1 << (4 * len(STOP_WORDS)).bit_length(), dtype=np.uint64)
    for word in STOP_WORDS:
        value = int(_SEED)
        for byte in word.encode():
            value = ((value ^ byte) * int(_FACTOR)) % 2**64
        slot = value % len(table)
        while table[slot]:
            slot = (slot + 1) % len(table)
        table[slot] = value
    return table


@compiled
def _count_characters(raw: np.ndarray, kinds: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    for row in range(ends.size - 1):
        characters, words, solid, punctuation, letters, capitals = 0, 0, 0, 0, 0, 0
        before = True
        for at in range(ends[row], ends[row + 1]):
            if raw[at] & 0xC0 == 0x80:
                continue
            bits = kinds[at]
            space = bits & SPACE != 0
            characters += 1
            words += before and not space
            solid += not space
            punctuation += bits & PUNCTUATION != 0
            letters += bits & LETTER != 0
            capitals += bits & CAPITAL != 0
            before = space
        out[row, 0], out[row, 1], out[row, 2] = characters, words, solid
        out[row, 3], out[row, 4], out[row, 5] = punctuation, letters, capitals


@compiled
def _count_words(raw: np.ndarray, kinds: np.ndarray, ends: np.ndarray, stop_words: np.ndarray, out: np.ndarray) -> None:
    """Count stop words and, by their hashes, the different ones of the first words; the text is in lower case."""
    mask, type_mask = np.uint64(stop_words.size - 1), np.uint64(4 * TTR_WORDS - 1)
    keys, owner = np.empty(4 * TTR_WORDS, dtype=np.uint64), np.full(4 * TTR_WORDS, -1, dtype=np.int64)
    for row in range(ends.size - 1):
        words, stops, types = 0, 0, 0
        at, end = ends[row], ends[row + 1]
        while at < end:
            if kinds[at] & SPACE:
                at += 1
                continue
            whole, bare = _SEED, _SEED
            while at < end and not kinds[at] & SPACE:
                whole = (whole ^ np.uint64(raw[at])) * _FACTOR
                if kinds[at] & (LETTER | NUMBER):
                    bare = (bare ^ np.uint64(raw[at])) * _FACTOR
                at += 1
            slot = bare & mask
            while stop_words[slot] != 0:
                if stop_words[slot] == bare:
                    stops += 1
                    break
                slot = (slot + np.uint64(1)) & mask
            words += 1
            if words > TTR_WORDS:
                continue
            slot = (whole >> np.uint64(32)) & type_mask
            while owner[slot] == row and keys[slot] != whole:
                slot = (slot + np.uint64(1)) & type_mask
            if owner[slot] != row:
                owner[slot], keys[slot] = row, whole
                types += 1
        out[row, 6], out[row, 7] = stops, types


def quality() -> pl.Expr:
    """How much a text looks like natural running English, in [0, 1]: a feature for the policy, never a reward.

    A product of smooth gates, each a logistic function that is near 1 over the range that the rules of Gopher (Rae et
    al., arXiv:2112.11446) and C4 accept and falls off outside of it: word length between 3 and 9, share of stop words
    between .10 and .80, punctuation below .25, capitals below .35, distinct words above .25, compression above .25 (for
    repetition), and a length gate n / (n + 5) in words. Smooth, because a threshold baked into data cannot be undone.
    Needs the other columns of ``text_statistics``.
    """
    column = pl.col
    length = column("n_words") / (column("n_words") + 5)
    gates = (
        _gate(column("mean_word_length"), 2.5, 0.3),
        _gate(column("mean_word_length"), 9.0, -0.6),
        _gate(column("stop_word_share"), 0.10, 0.04),
        _gate(column("stop_word_share"), 0.80, -0.04),
        _gate(column("punctuation_share"), 0.25, -0.04),
        _gate(column("uppercase_share"), 0.35, -0.06),
        _gate(column("type_token_ratio"), 0.25, 0.05),
        _gate(column("compression_ratio"), 0.25, 0.04),
    )
    product = length
    for gate in gates:
        product = product * gate
    return product


def _gate(value: pl.Expr, at: float, width: float) -> pl.Expr:
    """Logistic step at ``at``: rising for a positive width, falling for a negative one."""
    return 1.0 / (1.0 + (-(value - at) / width).exp())


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Quotient part / whole, and 0 where the whole is 0."""
    return pl.when(whole > 0).then(part / whole).otherwise(0.0)


def _compression(text: str) -> float:
    raw = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(raw, 1)) / len(raw) if raw else 0.0
