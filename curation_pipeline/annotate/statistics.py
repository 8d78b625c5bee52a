"""Plain statistics of a text, and a quality heuristic made from them (annotation ``text_statistics@2``)."""

from __future__ import annotations

import zlib

import polars as pl

from curation_pipeline.annotate.identity import identity_group
from curation_pipeline.annotate.lexicon import STOP_WORDS

VERSION = 2
DECIMALS = 4
TTR_WORDS = 256
"""Types are counted over the first words only: the ratio of types to tokens falls with length in any text."""

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
    text = pl.col("text")
    letters = text.str.count_matches(r"\p{L}")
    frame = documents.select(
        "doc_id",
        text,
        n_chars=text.str.len_chars().cast(pl.Int32),
        n_words=text.str.count_matches(r"\S+").cast(pl.Int32),
        solid=text.str.count_matches(r"\S"),
        punctuation_share=_ratio(text.str.count_matches(r"\p{P}"), text.str.len_chars()),
        uppercase_share=_ratio(text.str.count_matches(r"\p{Lu}"), letters),
        compression_ratio=pl.Series(
            # zlib has no vectorised form; it is a C call a document and far from the bottleneck.
            [_compression(value) for value in documents["text"].to_list()],
            dtype=pl.Float64,
        ),
        identity_group=identity_group("text"),
    ).with_row_index("row")
    words = (
        frame.lazy()
        .select("row", word=text.str.to_lowercase().str.extract_all(r"\S+"))
        .explode("word")
        .drop_nulls("word")
        .with_columns(
            stop=pl.col("word").str.replace_all(r"[^\p{L}\p{N}]", "").is_in(list(STOP_WORDS)),
            place=pl.int_range(pl.len()).over("row"),
        )
        .group_by("row")
        .agg(
            stop_word_share=pl.col("stop").mean(),
            type_token_ratio=pl.col("word").filter(pl.col("place") < TTR_WORDS).n_unique()
            / pl.len().clip(upper_bound=TTR_WORDS),
        )
        .collect()
    )
    return (
        frame.join(words, on="row", how="left", maintain_order="left")
        .with_columns(
            pl.col("stop_word_share", "type_token_ratio").fill_null(0.0),
            mean_word_length=_ratio(pl.col("solid"), pl.col("n_words")),
        )
        .with_columns(quality=quality())
        .select(
            pl.col(name).round(DECIMALS).cast(dtype) if dtype == pl.Float32 else pl.col(name).cast(dtype)
            for name, dtype in SCHEMA.items()
        )
    )


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
