"""The serving folder: plain Parquet for dbt to read, and one DuckDB file for people to open.

While a process has a DuckDB file open for writing no other can open it at all, and a reader blocks every writer. So dbt
builds `build.duckdb`, which nobody else opens, and `publish` puts it in the place of `serving.duckdb` by a rename: who
has the old file open keeps reading the old one, who opens it later sees the new one, and nobody sees half of one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import yaml
from pydantic import Field

from curation_pipeline.errors import DataError
from curation_pipeline.lake.keyed import only

BUILD = "build.duckdb"
SERVING = "serving.duckdb"
SOURCES = "sources"
EMPTY = "_empty.parquet"
RAW_SCHEMA = "raw"

SOURCES_FILE = Path(__file__).parents[1] / "dbt" / "models" / "sources.yml"
_TYPES: Mapping[str, pl.DataType] = {
    "varchar": pl.String(),
    "boolean": pl.Boolean(),
    "tinyint": pl.Int8(),
    "smallint": pl.Int16(),
    "integer": pl.Int32(),
    "bigint": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "varchar[]": pl.List(pl.String),
    "float[]": pl.List(pl.Float32),
}


def _source_schemas() -> dict[str, dict[str, pl.DataType]]:
    (source,) = yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))["sources"]
    return {
        table["name"]: {column["name"]: _TYPES[column["data_type"]] for column in table["columns"]}
        for table in source["tables"]
    }


SOURCE_SCHEMAS = _source_schemas()
"""Columns that dbt relies on, as its file of sources documents them. A source may hold more; its folder always holds a
file without rows that has these."""


class WarehouseResource(dg.ConfigurableResource[Any]):
    """The serving folder of the lake: what dbt reads, where it builds, and the file that people open."""

    folder: str = Field(description="Folder of the warehouse: sources/, and serving.duckdb for people to open.")

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return Path(self.folder).expanduser().resolve()

    def source_folder(self, table: str) -> Path:
        """Folder that the Parquet files of `table` are put in.

        Raises:
            DataError: no such table.
        """
        if table not in SOURCE_SCHEMAS:
            raise DataError(f"the warehouse has no source {table!r}; it has {', '.join(SOURCE_SCHEMAS)}")
        return self.path / SOURCES / table

    def prepare(self) -> None:
        """Give every source a folder with a typed file without rows, and clear away a build that was broken off.

        Raises:
            DataError: another process is building at this moment.
        """
        for table, schema in SOURCE_SCHEMAS.items():
            folder = self.source_folder(table)
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{EMPTY}.{os.getpid()}"
            pl.DataFrame(schema=schema).write_parquet(temporary)
            temporary.replace(folder / EMPTY)
        build = self.path / BUILD
        if build.exists():
            self._refuse_if_locked(build)
            build.unlink()
        _wal(build).unlink(missing_ok=True)

    def dbt_environment(self) -> dict[str, str]:
        """Environment variables for every call of dbt, whose own files go to the warehouse, not to the project."""
        return {
            "CURATION_WAREHOUSE": str(self.path),
            "DBT_TARGET_PATH": str(self.path / "dbt" / "target"),
            "DBT_LOG_PATH": str(self.path / "dbt" / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
        }

    def publish(self) -> Path:
        """Put the finished build in the place of the serving file.

        Adds one view per source (`raw.documents`, ...) first, and reads every relation once under the name it will be
        served by, so that a broken file is never published.

        Returns:
            Path of the serving file.

        Raises:
            DataError: there is no build, it is in use, or a view in it does not resolve.
        """
        import duckdb

        build, serving = self.path / BUILD, self.path / SERVING
        if not build.exists():
            raise DataError(f"nothing to publish: {build} does not exist; run `dbt build` first")
        self._refuse_if_locked(build)
        with duckdb.connect(str(build)) as connection:
            connection.execute(f"create schema if not exists {RAW_SCHEMA}")
            for table in SOURCE_SCHEMAS:
                pattern = _literal(f"{only(self.source_folder(table))}/*.parquet")
                connection.execute(
                    f"create or replace view {RAW_SCHEMA}.{_name(table)} as "
                    f"select * from read_parquet({pattern}, union_by_name = true)"
                )
            connection.execute("checkpoint")
        _check_resolves(build)
        with build.open("rb") as file:
            os.fsync(file.fileno())
        # Whoever opens the served file for writing would lock out the readers; and a log left next to the old file
        # would be replayed into the new one.
        build.chmod(0o444)
        build.replace(serving)
        _wal(build).unlink(missing_ok=True)
        _wal(serving).unlink(missing_ok=True)
        return serving

    @staticmethod
    def _refuse_if_locked(build: Path) -> None:
        import duckdb

        try:
            duckdb.connect(str(build), read_only=True).close()
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise DataError(f"{build} is being written by another process; wait until its dbt run ends") from error
        except duckdb.Error:
            # Not readable and not in use: a build that was broken off. dbt writes it again.
            return


def _check_resolves(build: Path) -> None:
    """Read the head of every relation of `build` under the catalogue name it will be served by."""
    import duckdb

    catalogue = Path(SERVING).stem
    with duckdb.connect() as connection:
        connection.execute(f"attach {_literal(str(build))} as {_name(catalogue)} (read_only)")
        connection.execute(f"use {_name(catalogue)}")
        relations = connection.execute(
            "select table_schema, table_name from information_schema.tables where table_catalog = ?", [catalogue]
        ).fetchall()
        for schema, table in relations:
            try:
                connection.execute(f"select * from {_name(schema)}.{_name(table)} limit 1").fetchall()
            except duckdb.Error as error:
                raise DataError(f"not published: {schema}.{table} of {build} cannot be read: {error}") from error


def _wal(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(identifier: str) -> str:
    if not re.fullmatch(r"\w+", identifier):
        raise DataError(f"not a name of a table: {identifier!r}")
    return f'"{identifier}"'
