"""Long texts into parts of bounded length, at the boundaries a reader would choose."""

from __future__ import annotations

import re

import polars as pl

_BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?])[\"')\]]*\s+"), re.compile(r"\s+"))
"""From the best place for a cut to the worst: paragraph, line, sentence, word."""


def split_text(text: str, max_chars: int) -> list[str]:
    """Parts of at most ``max_chars`` characters, in order; nothing but white space at the cuts is lost.

    Each cut is the last boundary of the best kind in the second half of what fits, so parts do not become slivers.
    """
    parts = []
    start = 0
    while len(text) - start > max_chars:
        cut = _cut(text, start, max_chars)
        parts.append(text[start:cut].strip())
        start = cut
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _cut(text: str, start: int, max_chars: int) -> int:
    """Where the part that begins at ``start`` ends."""
    half, end = start + max_chars // 2, start + max_chars
    for boundary in _BOUNDARIES:
        ends = [found.end() for found in boundary.finditer(text, half, end)]
        if ends:
            return ends[-1]
    return end


def split_rows(rows: pl.DataFrame, max_chars: int) -> pl.DataFrame:
    """Rows whose text is longer than ``max_chars`` as several, in order.

    Args:
        rows: at least text and metadata (a JSON object).
        max_chars: most characters of a part.

    Returns:
        The same columns and ``part``, the number of the part in its text from 0. The metadata of a text in several
        parts says so: ``part`` and ``parts``.
    """
    rows = rows.with_columns(pl.lit(0, dtype=pl.Int64).alias("part"))
    if not (rows["text"].str.len_chars() > max_chars).any():
        return rows
    parts = [split_text(text, max_chars) if len(text) > max_chars else [text] for text in rows["text"].to_list()]
    rows = rows.with_columns(pl.Series("text", parts, dtype=pl.List(pl.Utf8)))
    rows = rows.with_columns(
        pl.int_ranges(pl.col("text").list.len().cast(pl.Int64)).alias("part"), pl.col("text").list.len().alias("parts")
    ).explode("text", "part")
    marks = pl.format('"part":{},"parts":{}}}', pl.col("part"), pl.col("parts"))
    start = pl.col("metadata").str.strip_suffix("}")
    marked = pl.when(pl.col("metadata") == "{}").then(start + marks).otherwise(start + pl.lit(",") + marks)
    return rows.with_columns(
        pl.when(pl.col("parts") > 1).then(marked).otherwise(pl.col("metadata")).alias("metadata")
    ).drop("parts")
