"""Subsets and pairs in which the length of a text gives no answer away."""

from __future__ import annotations

import numpy as np
import polars as pl

_MAX_LENGTH_GAP = 0.15


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


def match_by_length(labels: np.ndarray, lengths: np.ndarray, turns: list[int], margin: float) -> list[tuple[int, int]]:
    """Greedy disjoint pairs (lower label, higher label) of nearly one length, ``lengths`` ascending.

    Each text, in the order of ``turns``, takes the free partner nearest in length on the side that keeps longer and
    shorter answers in balance, and one on the other side only if there is none.
    """
    free = np.ones(len(labels), dtype=bool)
    surplus = 0  # pairs whose lower label is the longer text, minus the others
    pairs = []
    for i in turns:
        if not free[i]:
            continue
        near = np.searchsorted(lengths, [lengths[i] / (1.0 + _MAX_LENGTH_GAP), lengths[i] * (1.0 + _MAX_LENGTH_GAP)])
        window = np.arange(near[0], near[1])
        window = window[free[window] & (np.abs(labels[window] - labels[i]) >= margin)]
        if not window.size:
            continue
        sign = np.sign(lengths[window] - lengths[i]) * np.sign(labels[i] - labels[window])  # +1: lower label is longer
        unwanted = sign * np.sign(surplus) > 0
        order = np.lexsort((np.abs(lengths[window] - lengths[i]), unwanted))
        j = int(window[order[0]])
        surplus += int(sign[order[0]])
        free[[i, j]] = False
        pairs.append((i, j) if labels[i] < labels[j] else (j, i))
    return pairs
