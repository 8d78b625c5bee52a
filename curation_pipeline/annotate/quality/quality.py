"""Quality rules of Gopher, C4 and FineWeb (annotation ``quality_rules@1``)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from curation_pipeline.annotate.quality.filters import filter_flags
from curation_pipeline.annotate.quality.rules import FAMILIES, SCHEMA, Family, flags, value_schema
from curation_pipeline.annotate.quality.settings import QualitySettings

VERSION = 1
DECIMALS = 4
BATCH_CHARS = 4_000_000
"""Characters worked on at once, unless one text is longer: bounds memory, whatever the chunk is."""


def quality_rules(documents: pl.DataFrame, settings: QualitySettings | None = None) -> pl.DataFrame:
    """Every rule's value and whether it passes.

    Args:
        documents: columns ``doc_id`` and ``text`` (null counts as empty).
        settings: thresholds; the defaults are the papers'.

    Returns:
        One row a document, in order, with the columns of ``SCHEMA`` and those of ``filter_flags``; floats rounded to 4
        decimals. Flags follow from the rounded values (see ``flags``), so that both can never disagree.
    """
    settings = settings or QualitySettings()
    values = quality_values(documents, settings)
    table = flags(values, settings).select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    return table.with_columns(filter_flags(documents, settings.filters))


def recipe_parameters(settings: QualitySettings) -> dict[str, object]:
    """What the table of rules depends on besides the texts: settings, and the versions of packages with filters."""
    found: dict[str, object] = {"quality": settings.model_dump(mode="json")}
    if settings.filters:
        found["filters"] = sorted({chosen.package for chosen in settings.filters})
    return found


def quality_values(
    documents: pl.DataFrame, settings: QualitySettings, families: tuple[Family, ...] = FAMILIES
) -> pl.DataFrame:
    """Values of the rules of some families.

    Args:
        documents: columns ``doc_id`` and ``text``.
        settings: those that decide what is counted matter here; the thresholds do not.
        families: whose rules.

    Returns:
        ``doc_id`` and the value columns of these families (see ``value_schema``).
    """
    text = documents["text"].fill_null("")
    parts = [_batch(batch.to_list(), settings, families) for batch in _batches(text)]
    schema = value_schema(families)
    if not parts:
        return documents.select(pl.col("doc_id").cast(pl.Utf8)).with_columns(
            pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items()
        )
    counts = pl.concat(parts)
    return counts.select(
        documents["doc_id"].cast(pl.Utf8),
        *(
            expression.round(DECIMALS).cast(schema[name]).alias(name)
            if schema[name] == pl.Float32
            else expression.cast(schema[name]).alias(name)
            for name, expression in _expressions(families).items()
        ),
    )


def _batches(text: pl.Series) -> Iterator[pl.Series]:
    """Runs of texts of about ``BATCH_CHARS`` characters, at least one text each."""
    ends = np.cumsum(text.str.len_chars().to_numpy())
    start = 0
    while start < len(text):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BATCH_CHARS, side="right")))
        yield text.slice(start, stop - start)
        start = stop


def _batch(texts: list[str], settings: QualitySettings, families: tuple[Family, ...]) -> pl.DataFrame:
    """Counts of texts: what the values of these families are made of."""
    # numba takes half a second to load; settings and rules are read without it.
    from curation_pipeline.annotate.quality.lines import LINE_COLUMNS, line_counts
    from curation_pipeline.annotate.quality.repetition import REPEATED_SIZES, TOP_SIZES, repeated_characters
    from curation_pipeline.annotate.quality.sentences import C4_COLUMNS, c4_counts
    from curation_pipeline.annotate.quality.tokens import encode, tokenise
    from curation_pipeline.annotate.quality.words import WORD_COLUMNS, word_counts

    codes, offsets = encode(texts)
    tokens = tokenise(codes, offsets)
    columns = {"chars": np.diff(offsets), "tokens": np.diff(tokens.offsets)}
    if families != ("c4",):
        lines = line_counts(codes, offsets, settings.fineweb.short_line)
        columns |= dict(zip(LINE_COLUMNS, lines.T, strict=True))
    if "gopher_quality" in families:
        words = word_counts(tokens, settings.gopher_quality.stop_words)
        columns |= dict(zip(WORD_COLUMNS, words.T, strict=True))
    if "gopher_repetition" in families:
        repeated = repeated_characters(tokens)
        columns |= {f"{n}_gram": column for n, column in zip(TOP_SIZES + REPEATED_SIZES, repeated.T, strict=True)}
    if "c4" in families:
        section = settings.c4
        sentences = c4_counts(
            codes, offsets, tokens, section.max_word_length, section.min_words_per_line, section.terminal_marks
        )
        columns |= {f"c4_{name}": column for name, column in zip(C4_COLUMNS, sentences.T, strict=True)}
    return pl.DataFrame({name: np.ascontiguousarray(column) for name, column in columns.items()})


def _expressions(families: tuple[Family, ...]) -> dict[str, pl.Expr]:
    """Each value from the counts of ``_batch``."""
    column = pl.col
    found: dict[str, pl.Expr] = {}
    if "gopher_quality" in families:
        found |= {
            "gopher_quality_words": column("words"),
            "gopher_quality_mean_word_length": _ratio("word_chars", "words"),
            "gopher_quality_hashes_per_word": _ratio("hashes", "tokens"),
            "gopher_quality_ellipses_per_word": _ratio("ellipses", "tokens"),
            "gopher_quality_bullet_lines": _ratio("bullet_lines", "lines"),
            "gopher_quality_ellipsis_lines": _ratio("ellipsis_lines", "lines"),
            "gopher_quality_lettered_words": _ratio("lettered", "tokens"),
            "gopher_quality_stop_words": column("stop_words"),
        }
    if "gopher_repetition" in families:
        found |= {
            "gopher_repetition_repeated_lines": _ratio("repeated_pieces", "pieces"),
            "gopher_repetition_repeated_paragraphs": _ratio("repeated_paragraphs", "paragraphs"),
            "gopher_repetition_repeated_line_chars": _ratio("repeated_piece_chars", "chars"),
            "gopher_repetition_repeated_paragraph_chars": _ratio("repeated_paragraph_chars", "chars"),
        }
        found |= {f"gopher_repetition_top_{n}_gram": _ratio(f"{n}_gram", "chars") for n in (2, 3, 4)}
        found |= {f"gopher_repetition_repeated_{n}_grams": _ratio(f"{n}_gram", "chars") for n in (5, 6, 7, 8, 9, 10)}
    if "c4" in families:
        found |= {
            "c4_sentences": column("c4_sentences"),
            "c4_lorem_ipsum_lines": column("c4_lorem_ipsum_lines"),
            "c4_curly_bracket_lines": column("c4_curly_bracket_lines"),
        }
        for name in ("long_word", "unended", "few_word", "javascript", "policy"):
            found[f"c4_{name}_lines"] = _ratio(f"c4_{name}_lines", "c4_lines")
    if "fineweb" in families:
        found |= {
            "fineweb_ended_lines": _ratio("ended_lines", "solid_lines"),
            "fineweb_short_lines": _ratio("short_lines", "solid_lines"),
            "fineweb_repeated_line_chars": pl.when(column("chars") > column("line_feeds"))
            .then(column("repeated_solid_chars") / (column("chars") - column("line_feeds")))
            .otherwise(0.0),
            "fineweb_line_feeds_per_word": _ratio("line_feeds", "tokens"),
        }
    return found


def _ratio(part: str, whole: str) -> pl.Expr:
    """Quotient of two counts, and 0 where the whole is 0."""
    return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole)).otherwise(0.0)
