"""The serving folder: plain Parquet for dbt to read, and one DuckDB file for people to open.

While a process has a DuckDB file open for writing no other can open it at all, and a reader blocks every writer. So dbt
builds `build.duckdb`, which nobody else opens, and `publish` puts it in the place of `serving.duckdb` by a rename: who
has the old file open keeps reading the old one, who opens it later sees the new one, and nobody sees half of one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
from pydantic import Field

from curation_pipeline.errors import DataError
from curation_pipeline.lake.keyed import only
from curation_pipeline.reward.parity import PARITY_SCHEMA

BUILD = "build.duckdb"
SERVING = "serving.duckdb"
SOURCES = "sources"
EMPTY = "_empty.parquet"
RAW_SCHEMA = "raw"

Schema = Mapping[str, pl.DataType | type[pl.DataType]]

_LOOP: Schema = {"chain": pl.String, "iteration": pl.String, "ordinal": pl.Int32, "attempt": pl.Int32}
_PLACE: Schema = {"source": pl.String, "snapshot": pl.String, "file": pl.String, "position": pl.Int64}
_DOCUMENTS: Schema = {
    "doc_id": pl.String,
    **_PLACE,
    **dict.fromkeys(["text", "url", "domain", "language", "created_at", "metadata"], pl.String),
    "n_bytes": pl.Int64,
    "duplicate": pl.Boolean,
}


def _columns(dtype: pl.DataType | type[pl.DataType], names: str) -> dict[str, pl.DataType | type[pl.DataType]]:
    return dict.fromkeys(names.split(), dtype)


SOURCE_SCHEMAS: Mapping[str, Schema] = {
    "documents": _DOCUMENTS,
    "retired_documents": _DOCUMENTS,
    "quarantine": {**_PLACE, "offset": pl.Int64, "excerpt": pl.String, "reason": pl.String},
    "text_statistics": {
        "doc_id": pl.String,
        **_columns(pl.Int32, "n_chars n_words"),
        **_columns(pl.Float32, "mean_word_length type_token_ratio punctuation_share uppercase_share stop_word_share"),
        **_columns(pl.Float32, "compression_ratio quality"),
        "identity_group": pl.String,
    },
    "topics": {"doc_id": pl.String, "topic": pl.Int16, "topic_distance": pl.Float32},
    "toxicity_teacher": {"doc_id": pl.String},
    "toxicity_judge": {
        "doc_id": pl.String,
        **_columns(pl.Float32, "toxic severe_toxic obscene threat insult identity_hate"),
    },
    "labels": {
        **_columns(pl.String, "text_id dataset split text group role"),
        **_columns(pl.Float64, "label agreement"),
    },
    "pool": {
        **_LOOP,
        **_columns(pl.String, "doc_id source snapshot domain identity_group stratum"),
        **_columns(pl.Int32, "n_tokens n_drawn"),
        "topic": pl.Int16,
        "toxicity_bin": pl.Int8,
        "vector": pl.List(pl.Float32),
        **_columns(pl.Float32, "p_harm alignment quality"),
    },
    "removed": {**_LOOP, **_columns(pl.String, "doc_id cause detail")},
    "duplicates": {
        **_columns(pl.String, "doc_id partition cluster_id kept_doc_id kind reason"),
        "cluster_size": pl.Int32,
        "kept": pl.Boolean,
        "similarity": pl.Float32,
    },
    "decisions": {
        **_LOOP,
        "doc_id": pl.String,
        "probability": pl.Float64,
        "drawn": pl.Boolean,
        "weight": pl.Float32,
        "reason": pl.String,
    },
    "batches": {**_LOOP, "doc_id": pl.String, "weight": pl.Float32, "n_tokens": pl.Int32},
    "batch_parity": {**_LOOP, **PARITY_SCHEMA},
    "metrics": {
        **_LOOP,
        **_columns(pl.String, "benchmark metric judge axis"),
        **_columns(pl.Float64, "value ci_low ci_high"),
        **_columns(pl.Int64, "n seed"),
        "higher_is_better": pl.Boolean,
    },
    "generations": {
        **_LOOP,
        **_columns(pl.String, "benchmark prompt_id prompt text"),
        "sample": pl.Int32,
        "score": pl.Float64,
    },
    "state": {
        **_LOOP,
        **_columns(pl.String, "status policy_id checkpoint_id reward_model_id batch_id parent_iteration committed_at"),
        **_columns(pl.Float64, "safety alignment capability performance"),
        "token_budget": pl.Int64,
    },
    "manifests": {
        **_columns(pl.String, "id table partition content_hash code_version created_at"),
        **_columns(pl.Int64, "n_rows n_files n_bytes seed"),
        "inputs": pl.List(pl.String),
    },
    "probes": _LOOP,
}
"""Columns that dbt relies on. A source may hold more; its folder always holds a file without rows that has these."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The serving folder at `folder` (absolute), without Dagster around it."""

    folder: Path

    def source_folder(self, table: str) -> Path:
        """Folder that the Parquet files of `table` are put in.

        Raises:
            DataError: no such table.
        """
        if table not in SOURCE_SCHEMAS:
            raise DataError(f"the warehouse has no source {table!r}; it has {', '.join(SOURCE_SCHEMAS)}")
        return self.folder / SOURCES / table

    def prepare(self) -> None:
        """Give every source a folder with a typed file without rows, and clear away a build that was broken off.

        Raises:
            DataError: another process is building at this moment.
        """
        for table, schema in SOURCE_SCHEMAS.items():
            folder = self.source_folder(table)
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{EMPTY}.{os.getpid()}"
            pl.DataFrame(schema=dict(schema)).write_parquet(temporary)
            temporary.replace(folder / EMPTY)
        build = self.folder / BUILD
        if build.exists():
            self._refuse_if_locked(build)
            build.unlink()
        _wal(build).unlink(missing_ok=True)

    def dbt_environment(self, state: Path | None = None) -> dict[str, str]:
        """Environment variables for every call of dbt.

        Args:
            state: Folder for dbt's own files (`target`, `logs`); beside the warehouse by default, so that dbt leaves
                nothing in the project's folder.
        """
        scratch = (state or self.folder / "dbt").resolve()
        return {
            "CURATION_WAREHOUSE": str(self.folder.resolve()),
            "DBT_TARGET_PATH": str(scratch / "target"),
            "DBT_LOG_PATH": str(scratch / "logs"),
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

        build, serving = self.folder / BUILD, self.folder / SERVING
        if not build.exists():
            raise DataError(f"nothing to publish: {build} does not exist; run `dbt build` first")
        self._refuse_if_locked(build)
        with duckdb.connect(str(build)) as connection:
            connection.execute(f"create schema if not exists {RAW_SCHEMA}")
            for table in SOURCE_SCHEMAS:
                pattern = _literal(f"{only(self.source_folder(table).resolve())}/*.parquet")
                connection.execute(
                    f"create or replace view {RAW_SCHEMA}.{_name(table)} as "
                    f"select * from read_parquet({pattern}, union_by_name = true)"
                )
            connection.execute("checkpoint")
        _check_resolves(build)
        with build.open("rb") as file:
            os.fsync(file.fileno())
        # Whoever opens the served file for writing would lock out the readers; and a log left beside the old file
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
            # Not readable and not in use: a build that was broken off. dbt writes it anew.
            return


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """The serving folder of the lake: what dbt reads, where it builds, and the file that people open."""

    folder: str = Field(description="Folder of the warehouse: sources/, and serving.duckdb for people to open.")

    @property
    def warehouse(self) -> Warehouse:
        """The same folder without Dagster around it."""
        return Warehouse(Path(self.folder).expanduser().resolve())

    def prepare(self) -> None:
        """See `Warehouse.prepare`; call it before dbt."""
        self.warehouse.prepare()

    def dbt_environment(self) -> dict[str, str]:
        """See `Warehouse.dbt_environment`."""
        return self.warehouse.dbt_environment()

    def publish(self) -> Path:
        """See `Warehouse.publish`; call it after dbt."""
        return self.warehouse.publish()


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
