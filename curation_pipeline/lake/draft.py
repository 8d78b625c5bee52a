"""An artefact in the making: the files that its stage writes before they are committed together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curation_pipeline.lake.keyed import ROW_GROUP, write_keyed


@dataclass(slots=True)
class Draft:
    """An artefact being written: files appear in a private folder and are committed together.

    Attributes:
        folder: the private folder; every file in it when the work ends belongs to the artefact.
        scratch: where work that is built with ``resumes`` keeps what it needs to go on after an interruption; no
            other builder of the same recipe uses it at the same time, and it is removed on commit.
        summary: figures for the manifest.
    """

    folder: Path
    scratch: Path
    summary: dict[str, Any] = field(default_factory=dict)

    def frame(self, frame: pl.DataFrame, name: str = "data") -> None:
        """Add a Parquet file ``<name>.parquet``."""
        frame.write_parquet(self.folder / f"{name}.parquet", compression="zstd")

    def keyed(self, frame: pl.DataFrame, name: str = "data", compression: Literal["zstd", "lz4"] = "zstd") -> None:
        """Add a Parquet file sorted by doc_id, for `keyed.lookup`; see `keyed.write_keyed`."""
        write_keyed(frame, self.folder / f"{name}.parquet", compression=compression)

    @contextmanager
    def keyed_writer(
        self, schema: dict[str, pl.DataType], name: str = "data", compression: Literal["zstd", "lz4"] = "zstd"
    ) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Write the same piece by piece: frames of any size become the row groups of `keyed.write_keyed`.

        Args:
            schema: columns and types, in order; every frame must have them.
            name: the file's stem.
            compression: see `keyed.write_keyed`.

        Yields:
            A function that appends a frame, whose doc_ids follow those of the frame before.
        """
        held = pl.DataFrame(schema=schema)
        with self.writer(schema, name, compression) as write:

            def append(frame: pl.DataFrame) -> None:
                nonlocal held
                held = held.vstack(frame.select(pl.col(column).cast(kind) for column, kind in schema.items()))
                whole = held.height - held.height % ROW_GROUP
                for start in range(0, whole, ROW_GROUP):
                    write(held.slice(start, ROW_GROUP))
                held = held.slice(whole)

            yield append
            if held.height:
                write(held)

    @contextmanager
    def writer(
        self, schema: dict[str, pl.DataType], name: str = "data", compression: Literal["zstd", "lz4"] = "zstd"
    ) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Write a Parquet file ``<name>.parquet`` piece by piece: each frame given becomes row groups of its own.

        Args:
            schema: columns and types, in order; every frame must have them.
            name: the file's stem.
            compression: see `keyed.write_keyed`.

        Yields:
            A function that appends one frame.
        """
        import pyarrow.parquet as pq

        arrow = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        # A dictionary of ids or of numbers is built, found too large and thrown away, for a third of the writing.
        repeated = [column for column, kind in schema.items() if kind == pl.Utf8 and column != "doc_id"]
        path = self.folder / f"{name}.parquet"
        with pq.ParquetWriter(path, arrow, compression=compression, use_dictionary=repeated) as stream:

            def append(frame: pl.DataFrame) -> None:
                table = frame.select(pl.col(column).cast(kind) for column, kind in schema.items())
                stream.write_table(table.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(arrow))

            yield append

    def json(self, value: Any, name: str) -> None:
        """Add a JSON file ``<name>.json``."""
        (self.folder / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
