"""The sample of a pool on which the frozen state is found, the same however the pool is cut.

A document is in it by the hash of its id: with probability SAMPLE over the documents of the pool, and in any case if it
is among the first few of its combination of names (stratum, topic, group, domain, source), so that no rare group is
lost. Each combination is weighted up to its tokens in the pool (post-stratification), so that shares of everything
that coverage, credit and floors are about are exactly those of the pool. A pool of at most SAMPLE documents is its own
sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.policy.pool import F64, Centres, Pool, Rows, Tables
from curation_pipeline.policy.pool_statistics import axes_of, composition_of, crossed, merged
from curation_pipeline.seeds import unit_hash

SAMPLE = 32_768
"""Documents of the sample, about."""
_LEAST = 32
"""Documents of each combination of names that are in it anyway, if there are not too many combinations."""
_SEED = 0
"""The sample is a property of the pool: no seed of a run moves it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a part of a pool learns.

    Attributes:
        composition: see ``population``.
        centres: topic -> (d + 1,) sums of the vectors and the documents behind them.
    """

    composition: pl.DataFrame
    centres: Mapping[str, F64]

    @classmethod
    def of(cls, pool: Pool) -> Survey:
        """Survey a part that was made into arrays alone, with tables of its own."""
        both = np.concatenate([pool.centres.sums, pool.centres.count[:, None]], axis=1)
        return cls(composition_of(pool), dict(zip(pool.topic.names, both, strict=True)))

    @classmethod
    def nothing(cls) -> Survey:
        """That of no documents."""
        return cls(pl.DataFrame(), {})

    @classmethod
    def merge(cls, parts: Iterable[Survey]) -> Survey:
        """The survey of several parts together; exact, in any order."""
        every = [part for part in parts if part.composition.height]
        centres: dict[str, F64] = {}
        for part in every:
            for name, sums in part.centres.items():
                centres[name] = centres[name] + sums if name in centres else sums
        return cls(merged(part.composition for part in every), centres)

    @property
    def tables(self) -> Tables:
        """What rows of any part need to become arrays in the codes of the whole."""
        names = {axis: tuple(self.composition[axis].unique().sort()) for axis in axes_of(self.composition)}
        sums = np.stack([self.centres[name] for name in names["topic"]])
        return Tables(names, Centres(sums[:, :-1], sums[:, -1].astype(np.int64)))


def sample_candidates(pool: Pool, documents: int) -> Rows:
    """Places in one part of a pool of what can be in the sample of the whole.

    Args:
        pool: the part.
        documents: of the whole pool.
    """
    if documents <= SAMPLE:
        return np.arange(len(pool))
    unit = unit_hash(pool.doc_id, _SEED)
    first = np.zeros(len(pool), np.bool_)
    first[_first_of_each(crossed(pool.columns, pool.columns), unit)] = True
    return np.flatnonzero(first | (unit < SAMPLE / documents))


def _first_of_each(key: Rows, unit: F64) -> Rows:
    """Places of the _LEAST lowest units (n,) among those of each key (n,)."""
    _, member, size = np.unique(key, return_inverse=True, return_counts=True)
    # Few of a common key can be among its first: only those are sorted, unless chance left too few of them.
    near = unit < (4.0 * _LEAST / size)[member]
    enough = np.bincount(member[near], minlength=len(size)) >= np.minimum(size, _LEAST)
    some = np.flatnonzero(near | ~enough[member])
    order = some[np.lexsort((unit[some], member[some]))]
    starts = np.flatnonzero(np.diff(member[order], prepend=-1))
    nth = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return order[nth < _LEAST]


def thinned(candidates: pl.DataFrame, axes: Sequence[str], documents: int) -> pl.DataFrame:
    """What can be in the sample of the whole among the candidates of several parts.

    Each part brings the first few of every combination of names; together only the first few of all can be needed, so
    that what is held does not grow with the number of parts.

    Args:
        candidates: rows of the pool, from ``sample_candidates`` of parts or from earlier calls.
        axes: of the composition.
        documents: of the whole pool.
    """
    if documents <= SAMPLE:
        return candidates
    unit = pl.Series("unit", unit_hash(candidates["doc_id"], _SEED))
    keyed = key_frame(candidates, axes).with_columns(unit)
    first = pl.col("unit").rank("ordinal").over(axes) <= _LEAST
    return candidates.filter(keyed.select(first | (pl.col("unit") < SAMPLE / documents)).to_series())


def key_frame(frame: pl.DataFrame, axes: Iterable[str]) -> pl.DataFrame:
    """The columns of a pool's frame that ``sample_rows`` looks at."""
    return frame.select("doc_id", "n_tokens", *(pl.col(axis).cast(pl.Utf8).fill_null("unknown") for axis in axes))


def key_columns(pool: Pool) -> pl.DataFrame:
    """The same of a pool's arrays."""
    names = {
        axis: pl.Series(axis, list(codes.names), dtype=pl.Utf8).gather(codes.code)
        for axis, codes in pool.columns.items()
    }
    return pl.DataFrame({"doc_id": pool.doc_id, "n_tokens": pool.n_tokens, **names})


def sample_rows(candidates: pl.DataFrame, composition: pl.DataFrame) -> tuple[Rows, F64]:
    """The sample of a pool.

    Args:
        candidates: ``sample_candidates`` of all parts, in any order; all documents of the pool do as well.
        composition: of the whole pool.

    Returns:
        Places (n,) among the candidates, in order of doc_id, and how many tokens of the pool each token stands for.
    """
    axes = axes_of(composition)
    documents = int(composition["documents"].sum())
    least = min(max(SAMPLE // composition.height, 1), _LEAST)
    order = candidates.with_row_index("row").sort("doc_id")
    if documents > SAMPLE:
        unit = pl.Series("unit", unit_hash(order["doc_id"], _SEED))
        first = pl.col("unit").rank("ordinal").over(axes) <= least
        order = order.with_columns(unit).filter(first | (pl.col("unit") < SAMPLE / documents))
    there = pl.col("n_tokens").cast(pl.Int64).sum().over(axes).alias("there")
    weighed = order.with_columns(there).join(
        composition.select(*axes, "tokens"), on=axes, how="left", maintain_order="left"
    )
    multiplicity = weighed["tokens"].to_numpy() / weighed["there"].to_numpy()
    return order["row"].to_numpy().astype(np.int64), multiplicity
