"""Order sampling: from inclusion probabilities to a batch that meets a token budget within one document.

Each document has a permanent random number u = hash(doc_id, seed) and the rank u / p (sequential Poisson sampling,
Ohlsson, 1998); the documents of the lowest rank are drawn until the budget is met. Documents of probability 1 come
before all others, those of probability 0 never come.

The threshold is found in two passes over shards that never meet: a token-weighted histogram of the ranks finds the bin
in which the budget ends, then only the rows of that bin are collected. Every number is a function of the document and
the seed, and tokens are summed as integers, so neither sharding nor order changes a batch, and one shard can be redone
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.engine.mapping import Map, serial_map
from curation_pipeline.errors import DataError
from curation_pipeline.policy.pool import F32, F64
from curation_pipeline.policy.scores import Scores
from curation_pipeline.seeds import unit_hash

I64 = npt.NDArray[np.int64]

_CERTAIN = 2.0**-64
"""Ranks of certain documents are u times this; any other rank is at least 2**-54, the smallest hash."""

_MANTISSA_BITS_DROPPED = 40
"""A bin is a float's exponent and the first 12 bits of its mantissa: 4096 bins to an octave of ranks."""


@dataclass(frozen=True, slots=True)
class RankHistogram:
    """Tokens by bin of rank, sparse; bins are in increasing order of rank.

    Attributes:
        bins: (b,) leading bits of the ranks, strictly increasing.
        tokens: (b,) tokens of the documents in each bin.
    """

    bins: I64
    tokens: I64


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where the budget ends.

    Attributes:
        bin: the bin that must be looked into; None if every document fits.
        tokens_below: tokens of all documents in lower bins.
    """

    bin: int | None
    tokens_below: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draw from a pool of n documents, in the pool's order.

    Attributes:
        drawn: (n,) whether the document is in the batch.
        weight: (n,) its loss weight, 0 if not drawn.
        threshold: the largest rank that is drawn; -1 if nothing is.
    """

    drawn: npt.NDArray[np.bool_]
    weight: F32
    threshold: float


def ranks(doc_ids: pl.Series | Sequence[str], probability: F64, seed: int) -> F64:
    """Rank (n,) of each document, infinite where the probability is 0.

    Args:
        doc_ids: (n,) ids of 32 hexadecimal digits.
        probability: (n,) inclusion probabilities in [0, 1].
        seed: of the draw.
    """
    unit = unit_hash(doc_ids, seed)
    if len(unit) != len(probability):
        raise DataError(f"{len(unit)} documents but {len(probability)} probabilities")
    return ranks_of(unit, probability)


def ranks_of(unit: F64, probability: F64) -> F64:
    """The same from the documents' permanent random numbers (n,), see ``seeds.unit_hash``."""
    safe = np.where(probability > 0, probability, 1.0)
    return np.where(probability >= 1, unit * _CERTAIN, np.where(probability > 0, unit / safe, np.inf))


def rank_histogram(rank: F64, n_tokens: npt.ArrayLike) -> RankHistogram:
    """First pass over one shard: tokens by bin of rank."""
    finite = np.isfinite(rank)
    bins, place = np.unique(_bins(rank[finite]), return_inverse=True)
    # Sums of whole numbers in float64 are exact up to 2**53.
    tokens = np.bincount(place, weights=np.asarray(n_tokens)[finite], minlength=len(bins))
    return RankHistogram(bins, tokens.astype(np.int64))


def merge(histograms: Iterable[RankHistogram]) -> RankHistogram:
    """The histogram of several shards together; associative and commutative."""
    parts = list(histograms)
    if not parts:
        return RankHistogram(np.empty(0, np.int64), np.empty(0, np.int64))
    bins, place = np.unique(np.concatenate([part.bins for part in parts]), return_inverse=True)
    tokens = np.zeros(len(bins), np.int64)
    np.add.at(tokens, place, np.concatenate([part.tokens for part in parts]))
    return RankHistogram(bins, tokens)


def boundary(histogram: RankHistogram, budget_tokens: int) -> Boundary:
    """The bin in which the budget ends."""
    cumulative = np.cumsum(histogram.tokens)
    place = int(np.searchsorted(cumulative, budget_tokens, side="right"))
    if place == len(cumulative):
        return Boundary(None, int(histogram.tokens.sum()))
    return Boundary(int(histogram.bins[place]), int(cumulative[place - 1]) if place else 0)


def boundary_rows(rank: F64, n_tokens: npt.ArrayLike, where: Boundary) -> tuple[F64, I64]:
    """Second pass over one shard: ranks and tokens of its documents in the boundary bin."""
    if where.bin is None:
        return np.empty(0), np.empty(0, np.int64)
    inside = np.isfinite(rank)
    inside[inside] = _bins(rank[inside]) == where.bin
    return rank[inside], np.asarray(n_tokens, dtype=np.int64)[inside]


def threshold(
    histogram: RankHistogram, budget_tokens: int, rows: Iterable[tuple[F64, I64]], where: Boundary | None = None
) -> float:
    """The largest rank to draw: the longest run of documents in order of rank that stays within the budget.

    Args:
        histogram: merged over all shards.
        budget_tokens: tokens that may be drawn.
        rows: ``boundary_rows`` of every shard, in any order.
        where: ``boundary`` of the histogram, if it is at hand.

    Returns:
        A rank; documents of a rank at most this are drawn. -1 if not even the first document fits.
    """
    where = where or boundary(histogram, budget_tokens)
    below = -1.0
    if where.bin is None:
        return float(np.finfo(np.float64).max) if len(histogram.bins) else below
    lower = histogram.bins[histogram.bins < where.bin]
    if len(lower):
        # The largest float of the bin below: every document of that bin is drawn.
        below = float(np.array([((int(lower[-1]) + 1) << _MANTISSA_BITS_DROPPED) - 1], np.int64).view(np.float64)[0])
    parts = list(rows)
    rank = np.concatenate([part[0] for part in parts])
    tokens = np.concatenate([part[1] for part in parts])
    # Documents of equal rank (the same id twice) are drawn together or not at all.
    values, place = np.unique(rank, return_inverse=True)
    grouped = np.zeros(len(values), np.int64)
    np.add.at(grouped, place, tokens)
    fits = int(np.searchsorted(np.cumsum(grouped), budget_tokens - where.tokens_below, side="right"))
    return float(values[fits - 1]) if fits else below


def apply(rank: F64, limit: float) -> npt.NDArray[np.bool_]:
    """Which documents (n,) of a shard are drawn."""
    return np.isfinite(rank) & (rank <= limit)


Part = Callable[[], tuple[F64, I64]]
"""Ranks and tokens of one part of a pool; called twice, so that no part has to stay in memory."""


def limit_of(parts: Sequence[Part], budget_tokens: int, run: Map = serial_map) -> float:
    """The largest rank to draw from a pool in parts, see ``threshold``; the same for any parts in any order.

    Args:
        parts: of the pool; picklable where they are looked at in other processes.
        budget_tokens: of the draw.
        run: looks at the parts.
    """
    histogram = RankHistogram(np.empty(0, np.int64), np.empty(0, np.int64))
    for _, found in run(_histogram_of, parts):
        histogram = merge((histogram, found))
    where = boundary(histogram, budget_tokens)
    near = [found for _, found in run(_near, [(part, where) for part in parts])]
    return threshold(histogram, budget_tokens, near, where)


def _histogram_of(part: Part) -> RankHistogram:
    return rank_histogram(*part())


def _near(task: tuple[Part, Boundary]) -> tuple[F64, I64]:
    part, where = task
    return boundary_rows(*part(), where)


def draw(
    doc_ids: pl.Series | Sequence[str],
    probability: F64,
    weight: F32,
    n_tokens: npt.ArrayLike,
    budget_tokens: int,
    seed: int,
) -> Drawn:
    """Draw a batch from one shard.

    Args:
        doc_ids: (n,) ids of 32 hexadecimal digits.
        probability: (n,) inclusion probabilities in [0, 1].
        weight: (n,) loss weight if drawn.
        n_tokens: (n,) tokens, whole numbers.
        budget_tokens: tokens of drawn documents; what is drawn falls short of it by less than the next document.
        seed: of the draw.
    """
    rank = ranks(doc_ids, probability, seed)
    tokens = np.asarray(n_tokens, dtype=np.int64)
    limit = limit_of([lambda: (rank, tokens)], budget_tokens)
    chosen = apply(rank, limit)
    return Drawn(chosen, np.where(chosen, weight, 0.0).astype(np.float32), limit)


DECISIONS: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "probability": pl.Float64(),
    "drawn": pl.Boolean(),
    "weight": pl.Float32(),
    "reason": pl.Utf8(),
}
BATCH: dict[str, pl.DataType] = {"doc_id": pl.Utf8(), "weight": pl.Float32(), "n_tokens": pl.Int32()}


def decision_rows(doc_id: pl.Series, scores: Scores, drawn: Drawn) -> pl.DataFrame:
    """One row for each of some documents, with the reason in words."""
    rows = pl.DataFrame(
        {
            "doc_id": doc_id,
            "probability": scores.probability,
            "drawn": drawn.drawn,
            "weight": drawn.weight,
        }
    )
    unsaid = pl.when(pl.col("probability") > 0).then(pl.lit("not drawn")).otherwise(pl.lit("not drawn: probability 0"))
    reason = pl.lit(pl.Series(scores.reason, dtype=pl.Utf8)) if scores.reason is not None else pl.lit("")
    why = pl.when("drawn").then(pl.lit("drawn")).when(reason != "").then(reason).otherwise(unsaid)
    return rows.with_columns(why.alias("reason")).select(pl.col(name).cast(kind) for name, kind in DECISIONS.items())


def batch_rows(doc_id: pl.Series, n_tokens: npt.ArrayLike, drawn: Drawn) -> pl.DataFrame:
    """The drawn ones of some documents with weight and tokens, in their order."""
    every = pl.DataFrame({"doc_id": doc_id, "weight": drawn.weight, "n_tokens": np.asarray(n_tokens)})
    return every.filter(pl.Series(drawn.drawn)).cast(BATCH)  # type: ignore[arg-type]


def _bins(rank: F64) -> I64:
    # The bits of positive floats, read as integers, are in the order of the floats.
    return np.ascontiguousarray(rank).view(np.int64) >> _MANTISSA_BITS_DROPPED
