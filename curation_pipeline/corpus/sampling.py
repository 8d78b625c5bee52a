"""A limit on documents as a sample that depends on the texts alone, taken in bounded memory."""

from __future__ import annotations

import polars as pl

from curation_pipeline.seeds import unit_hash

LIMIT_SEED = 11
"""Which documents a limit keeps depends on their text and on this constant alone."""

SLACK_ROWS = 100_000

PLACE = ("unit", "ordinal", "part")
"""The order in which documents count against a limit: hash of the whole text, place in the source, part of the text."""


def sample_units(ids: pl.Series) -> pl.Series:
    """The hash of each whole text by which a limit chooses, in (0, 1)."""
    return pl.Series("unit", unit_hash(ids, LIMIT_SEED), dtype=pl.Float64)


class LimitSketch:
    """Finds, in one pass, the place in the order of ``PLACE`` up to which exactly ``limit`` documents are kept.

    What lies behind the place found so far can never come back, whatever follows, so only what lies before it is
    remembered: memory grows with the limit, and not with the source.
    """

    def __init__(self, limit: int) -> None:
        """Start empty.

        Args:
            limit: most documents to keep, at least 1.
        """
        self._limit = limit
        self._rows: list[pl.DataFrame] = []
        self._height = 0
        self._cut: tuple[float, int, int] | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Look at rows with the columns of ``PLACE``, doc_id (of the part) and excluded."""
        rows = rows.select(*PLACE, "doc_id", "excluded")
        if self._cut is not None:
            rows = rows.filter(before(self._cut))
        self._rows.append(rows)
        self._height += rows.height
        if self._height > 4 * self._limit + SLACK_ROWS:
            self._prune()
            # Where duplicates alone pass the bound, pruning again at once would find nothing.
            self._height = min(self._height, self._limit)

    def _prune(self) -> None:
        rows = pl.concat(self._rows).sort(*PLACE)
        kept = ~pl.col("excluded") & pl.col("doc_id").is_first_distinct()
        counted = kept.cast(pl.Int64).cum_sum() - kept.cast(pl.Int64)
        within = rows.with_columns((counted < self._limit).alias("within"))
        behind = within.filter(~pl.col("within")).head(1)
        if behind.height:
            unit, ordinal, part = behind.select(*PLACE).row(0)
            self._cut = (unit, ordinal, part)
        rows = within.filter("within").drop("within")
        self._rows, self._height = [rows], rows.height

    def cut(self) -> tuple[float, int, int] | None:
        """The first place that is beyond the limit, or None where all documents fit."""
        if self._rows:
            self._prune()
        return self._cut


def before(cut: tuple[float, int, int]) -> pl.Expr:
    """Which rows lie before a place."""
    unit, ordinal, part = (pl.col(name) for name in PLACE)
    later = (ordinal < cut[1]) | ((ordinal == cut[1]) & (part < cut[2]))
    return (unit < cut[0]) | ((unit == cut[0]) & later)
