"""Subsets in which the length of a text gives no answer away."""

from __future__ import annotations

import polars as pl


def balanced_by_length(frame: pl.DataFrame, gap: pl.Expr, size: int) -> pl.DataFrame:
    """At most ``size`` rows among which the right text is the longer one exactly as often as the shorter one.

    Rows of equal length are all welcome. Each kind keeps its first rows, in the same proportions whatever the size.

    Args:
        frame: rows in random order.
        gap: length of the right text minus that of the wrong one, a signed number.
        size: upper bound on the number of rows.

    Returns:
        The rows kept, in the order of ``frame``.
    """
    ranked = frame.with_row_index("_rank").with_columns(gap.sign().alias("_sign"))
    ties, longer, shorter = (ranked.filter(pl.col("_sign") == sign) for sign in (0, 1, -1))
    pairs = min(longer.height, shorter.height)
    share = min(1.0, size / max(ties.height + 2 * pairs, 1))
    count = int(share * pairs)
    kept = [ties.head(int(share * ties.height)), longer.head(count), shorter.head(count)]
    return pl.concat(kept).sort("_rank").drop("_rank", "_sign")
