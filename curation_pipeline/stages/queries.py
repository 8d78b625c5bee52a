"""Questions to a candidate pool: documents by condition, stratified samples, and what happened to each.

Tables of the loop are sorted by doc_id, so a lookup reads a few row groups whatever the size of the pool; conditions
and samples are DuckDB queries over Parquet, which read the columns that they name.

A condition is somebody's text: it is parsed first and must be one expression of known functions, and it runs on a
connection that reaches the pool's file and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import polars as pl

from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.keyed import lookup, only
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.condition import check_condition, quoted

UNSHOWN = ("vector",)
"""Columns that a query leaves out unless they are asked for: they are most of a pool's bytes."""

MAX_SECONDS = 600.0


class PoolQuery:
    """One candidate pool, open for questions."""

    def __init__(self, lake: Lake, manifest: Manifest) -> None:
        """Read the schema of the pool's table."""
        self.manifest = manifest
        self._path = lake.path(manifest, "data.parquet")
        schema = pl.scan_parquet(self._path, glob=False).collect_schema()
        self.columns = tuple(name for name in schema if name not in UNSHOWN)

    @property
    def rows(self) -> int:
        """Documents of the pool."""
        return self.manifest.n_rows

    def where(self, condition: str = "true") -> pl.DataFrame:
        """Documents that meet an SQL condition over the pool's columns, in order of id.

        Raises:
            ConfigError: the condition is not one expression of ``FUNCTIONS``, or names a column that there is not.
        """
        return self._query(condition, " order by doc_id")

    def sample(self, n: int, by: str = "stratum", condition: str = "true", seed: int = 0) -> pl.DataFrame:
        """A stratified random sample: up to ``n`` documents of each value of a column.

        Which documents are taken depends on their ids and the seed alone, so a sample of a larger ``n`` holds that of a
        smaller one.

        Raises:
            ConfigError: there is no such column, or the condition is not valid.
        """
        if by not in self.columns:
            raise ConfigError(f"the pool has no column {by!r}; it has {', '.join(self.columns)}")
        column = quoted(by)
        return self._query(
            condition,
            f" qualify row_number() over (partition by {column} order by hash(doc_id, {int(seed)}), doc_id)"
            f" <= {int(n)} order by {column}, doc_id",
        )

    def _query(self, condition: str, tail: str) -> pl.DataFrame:
        import duckdb

        pattern = only(self._path)
        shown = ", ".join(map(quoted, self.columns))
        with duckdb.connect(config={"autoload_known_extensions": False, "temp_directory": ""}) as connection:
            connection.execute("set python_enable_replacements = false")
            connection.execute("set allowed_paths = [?, ?]", [str(self._path), pattern])
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
            connection.from_parquet(pattern).create_view("pool")
            check_condition(connection, condition)
            clock = threading.Timer(MAX_SECONDS, connection.interrupt)
            clock.start()
            try:
                sql = f"select {shown} from pool where (\n{condition}\n){tail}"
                frame: pl.DataFrame = connection.sql(sql).pl()
            except duckdb.InterruptException:
                raise ConfigError(f"the query fails: it takes more than {MAX_SECONDS:.0f} s") from None
            except duckdb.Error as error:
                raise ConfigError(f"the query fails: {error}") from error
            finally:
                clock.cancel()
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
