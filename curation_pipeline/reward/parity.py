"""The one definition of selection parity: is benign text about a group drawn as often as other benign text?

The reward's constraint, the check of a batch, the policy's card, the report and the served mart all use it.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from curation_pipeline.annotate.identity import NONE
from curation_pipeline.annotate.toxicity import HARM_THRESHOLD

PARITY_FLOOR = 0.8
"""Four fifths, as in the rule of that name: parity below it is reported."""
MIN_DOCUMENTS = 100
Z = 1.96

PARITY_SCHEMA: dict[str, type[pl.DataType]] = {
    "identity_group": pl.Utf8,
    "documents": pl.Int64,
    "rate": pl.Float64,
    "parity": pl.Float64,
    "parity_low": pl.Float64,
    "parity_high": pl.Float64,
}


def selection_parity(pool: pl.DataFrame, min_documents: int = MIN_DOCUMENTS) -> pl.DataFrame:
    """Selection rate of benign text that mentions a group, over that of benign text of the same source without one.

    Benign text has P(harm) below `HARM_THRESHOLD`. Each document counts as 1 - P(harm) of one, so that a group whose
    benign text is doubted is not left out. Where the reward itself calls the benign text of a group harmful, parity
    looks better than it is: ``benchmarks/decision_quality.py`` has people's labels, and far lower figures.

    Sources differ in groups and in everything else, so rates are compared inside each source and put together by the
    rate ratio of Mantel and Haenszel (1959). The 95% interval is that of Greenland and Robins (1985), which treats the
    draws of documents as independent; where none of a group is drawn, it is that of half a document.

    Args:
        pool: columns source, identity_group, p_harm and drawn: Boolean, or the probability of being drawn.
        min_documents: fewest benign documents of a group, and of none in its sources, for a figure.

    Returns:
        Rows of `PARITY_SCHEMA` by rising parity: ``documents`` are the group's benign ones and ``rate`` is the share of
        them that is drawn. A group with fewer documents is absent, and so is one in whose sources nothing benign
        without a group is drawn.
    """
    return parity_of(parity_cells(pool), min_documents)


def parity_cells(pool: pl.DataFrame) -> pl.DataFrame:
    """What parity needs of some documents; the cells of parts of a pool add up to those of the whole.

    Args:
        pool: see `selection_parity`.

    Returns:
        One row for each identity_group and source, sorted: n (benign documents), mass (each counts 1 - P(harm)), drawn.
    """
    benign = pool.filter(pl.col("p_harm") < HARM_THRESHOLD)
    cells = benign.select("identity_group", "source").unique().sort("identity_group", "source").with_row_index("cell")
    cell_of = benign.join(cells, on=["identity_group", "source"], maintain_order="left")["cell"].to_numpy()
    mass = 1.0 - benign["p_harm"].cast(pl.Float64).to_numpy()
    # NumPy adds in the order of the rows: sums of threads would differ in the last digit from run to run.
    sums = {"n": None, "mass": mass, "drawn": mass * benign["drawn"].to_numpy()}
    return cells.with_columns(
        pl.Series(name, np.bincount(cell_of, weights, cells.height)) for name, weights in sums.items()
    ).drop("cell")


def parity_of(cells: pl.DataFrame, min_documents: int = MIN_DOCUMENTS) -> pl.DataFrame:
    """`selection_parity` of a pool with these `parity_cells`."""
    none = cells.filter(pl.col("identity_group") == NONE).drop("identity_group")
    rows = []
    for cell in cells.filter(pl.col("identity_group") != NONE).partition_by("identity_group", maintain_order=True):
        both = cell.join(none, on="source", suffix="_none", maintain_order="left")
        n = int(both["n"].sum())
        if n < min_documents or int(both["n_none"].sum()) < min_documents:
            continue
        a, n1, c, n0 = (both[name].to_numpy() for name in ("drawn", "mass", "drawn_none", "mass_none"))
        if not (c * n1).any():
            continue
        ratio, low, high = _rate_ratio(a, n1, c, n0)
        if ratio == 0.0:
            low, high = 0.0, _rate_ratio(0.5 * n1 / n1.sum(), n1, c, n0)[2]
        rows.append((cell["identity_group"][0], n, float(a.sum() / n1.sum()), ratio, low, high))
    return pl.DataFrame(rows, schema=PARITY_SCHEMA, orient="row").sort("parity", "identity_group")


def _rate_ratio(a: np.ndarray, n1: np.ndarray, c: np.ndarray, n0: np.ndarray) -> tuple[float, float, float]:
    """Ratio of the rates a / n1 and c / n0 over strata, with its interval."""
    total = n1 + n0
    top, bottom = float((a * n0 / total).sum()), float((c * n1 / total).sum())
    if top <= 0:
        return 0.0, 0.0, 0.0
    variance = float(((n1 * n0 * (a + c) - a * c * total) / total**2).sum()) / (top * bottom)
    ratio, spread = top / bottom, math.exp(Z * math.sqrt(max(variance, 0.0)))
    return ratio, ratio / spread, ratio * spread
