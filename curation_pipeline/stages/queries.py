"""Questions to a candidate pool: documents by id, by condition, stratified samples, and what happened to each.

Tables of the loop are sorted by doc_id, so a lookup reads a few row groups whatever the size of the pool; conditions
and samples are DuckDB queries over Parquet, which read the columns that they name.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.keyed import lookup
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest

UNSHOWN = ("vector",)
"""Columns that a query leaves out unless they are asked for: they are most of a pool's bytes."""


class PoolQuery:
    """One candidate pool, open for questions."""

    def __init__(self, lake: Lake, manifest: Manifest) -> None:
        """Read the schema of the pool's table."""
        self.manifest = manifest
        self._path = lake.path(manifest, "data.parquet")
        schema = pl.read_parquet_schema(self._path)
        self.columns = tuple(name for name in schema if name not in UNSHOWN)

    @property
    def rows(self) -> int:
        """Documents of the pool."""
        return self.manifest.n_rows

    def get(self, doc_ids: Sequence[str], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of some documents, in order of id; documents that are not in the pool are left out."""
        return lookup(self._path, doc_ids, columns or self.columns)

    def where(self, condition: str = "true", limit: int | None = None) -> pl.DataFrame:
        """Documents that meet an SQL condition over the pool's columns, in order of id.

        Raises:
            ConfigError: the condition is no valid SQL, or names a column that there is not.
        """
        tail = "" if limit is None else f" limit {int(limit)}"
        return self._query(f"select {self._shown} from pool where {condition} order by doc_id{tail}")

    def sample(self, n: int, by: str = "stratum", condition: str = "true", seed: int = 0) -> pl.DataFrame:
        """A stratified random sample: up to ``n`` documents of each value of a column.

        Which documents are taken depends on their ids and the seed alone, so a sample of a larger ``n`` holds that of a
        smaller one.

        Raises:
            ConfigError: there is no such column, or the condition is not valid.
        """
        if by not in self.columns:
            raise ConfigError(f"the pool has no column {by!r}; it has {', '.join(self.columns)}")
        return self._query(
            f"select {self._shown} from pool where {condition} qualify row_number() over"
            f" (partition by {by} order by hash(doc_id, {int(seed)}), doc_id) <= {int(n)} order by {by}, doc_id"
        )

    @property
    def _shown(self) -> str:
        return ", ".join(f'"{name}"' for name in self.columns)

    def _query(self, sql: str) -> pl.DataFrame:
        import duckdb

        with duckdb.connect() as connection:
            path = str(self._path).replace("'", "''")
            connection.execute(f"create view pool as select * from read_parquet('{path}')")
            try:
                frame: pl.DataFrame = connection.sql(sql).pl()
            except duckdb.Error as error:
                raise ConfigError(f"the query fails: {error}") from error
        return frame


def selection_history(lake: Lake, doc_ids: Sequence[str]) -> pl.DataFrame:
    """What every iteration of every chain decided about some documents.

    Returns:
        One row for each document and iteration: chain, iteration, outcome ("drawn", "not drawn", or why the document
        was not in the pool), probability, weight, stratum, and the batch; in order of chain and iteration.
    """
    rows: list[pl.DataFrame] = []
    for pool in lake.heads("pool"):
        batch = lake.head("batches", pool.partition)
        place = [pl.lit(pool.partition[name]).alias(name) for name in ("chain", "iteration")]
        why = pl.format("removed: {} ({})", "cause", pl.col("detail").fill_null("")).alias("outcome")
        rows.append(lookup(lake.path(pool, "removed.parquet"), doc_ids).select(*place, "doc_id", why))
        if batch is None:
            continue
        decided = lookup(lake.path(batch, "decisions.parquet"), doc_ids)
        known = lookup(lake.path(pool, "data.parquet"), doc_ids, ["stratum"])
        outcome = pl.when("drawn").then(pl.lit("drawn")).otherwise(pl.lit("not drawn")).alias("outcome")
        rows.append(
            decided.join(known, on="doc_id", how="left").select(
                *place, "doc_id", outcome, pl.col("probability").cast(pl.Float64), pl.col("weight").cast(pl.Float64),
                "stratum", pl.lit(batch.id).alias("batch"),
            )
        )  # fmt: skip
    if not rows:
        return pl.DataFrame()
    return pl.concat(rows, how="diagonal").sort("doc_id", "chain", "iteration")
