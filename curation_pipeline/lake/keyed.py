"""Random access to Parquet: files sorted by a key, whose row-group statistics lead a reader to the few rows it wants.

Polars prunes row groups by their statistics, so a lookup reads the footer and one row group whatever the size of the
file; `benchmarks/pool_lookup.py` measures it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from curation_pipeline.errors import DataError

ROW_GROUP = 32_768
"""Rows of a row group of a keyed file: small enough to read one in milliseconds, large enough that the footer of ten
million rows is read in a few more."""


def only(path: Path | str) -> str:
    """A path as DuckDB takes it for that one file, whatever it holds: unmarked, brackets and stars make a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", str(path))


def write_keyed(
    frame: pl.DataFrame, path: Path, key: str = "doc_id", compression: Literal["zstd", "lz4"] = "zstd"
) -> None:
    """Write a frame sorted by ``key``, in row groups that `lookup` can skip.

    Args:
        frame: any rows.
        path: of the file.
        key: the key's column.
        compression: lz4 for what is mostly vectors: a seventh larger than zstd, and read in two thirds of the time.
    """
    frame.sort(key).write_parquet(path, compression=compression, row_group_size=ROW_GROUP, statistics=True)


def lookup(path: Path, keys: Sequence[str], columns: Sequence[str] | None = None, key: str = "doc_id") -> pl.DataFrame:
    """The rows of a Parquet file whose key is one of ``keys``, in the file's order.

    Args:
        path: a file; where it is not sorted by the key, all of it is read.
        keys: any number of keys; those that the file lacks are left out.
        columns: what to read besides the key; everything by default.
        key: the key's column.
    """
    rows = pl.scan_parquet(path, glob=False).filter(pl.col(key).is_in(list(keys)))
    if columns is not None:
        rows = rows.select(key, *(name for name in columns if name != key))
    return rows.collect()


def row_at(path: Path, row: int) -> pl.DataFrame:
    """One row of a Parquet file by its number; only its row group is read.

    Raises:
        DataError: the file has fewer rows.
    """
    found = pl.scan_parquet(path, glob=False).slice(row, 1).collect()
    if found.is_empty():
        raise DataError(f"{path} has no row {row}: the index is older than the table; materialise `document_index`")
    return found


SHARD_ROWS = 4 * ROW_GROUP
"""Rows of a shard: whole row groups of a keyed file, and few enough that deciding one needs about 200 MB."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of rows of a Parquet file."""

    path: Path
    start: int
    rows: int

    def frame(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Its rows; only their row groups are read."""
        found = pl.scan_parquet(self.path, glob=False).slice(self.start, self.rows)
        return (found if columns is None else found.select(columns)).collect()


def shards_of(paths: Sequence[Path], rows: int = SHARD_ROWS) -> tuple[Shard, ...]:
    """The shards of a table in one or more Parquet files, in the files' order.

    Args:
        paths: of the files.
        rows: most rows of a shard.
    """
    shards: list[Shard] = []
    for path in paths:
        height = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        shards.extend(Shard(path, start, min(rows, height - start)) for start in range(0, height, rows))
    return tuple(shards)
