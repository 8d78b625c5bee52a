"""Data sets of the Hugging Face hub, streamed by their id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from curation_pipeline.corpus.columnar import add_table, damage, readable_columns
from curation_pipeline.corpus.listing import Listing
from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.source import ReadSettings, Size
from curation_pipeline.errors import DataError, DownloadError
from curation_pipeline.extras import extra

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW_ROWS = 1_000


class HubSource(ReadSettings):
    """A data set of the Hugging Face hub, streamed by its id; its splits are the snapshots.

    Needs the package ``datasets`` and a hub that can be reached (``HF_ENDPOINT`` names another than huggingface.co). A
    folder that ``save_to_disk`` wrote is a ``folder`` source.
    """

    kind: Literal["hub"] = "hub"
    dataset: str = Field(min_length=1, description="id of the data set, e.g. HuggingFaceFW/fineweb")
    config: str | None = Field(default=None, description="configuration of the data set, where it has several")
    revision: str | None = Field(
        default=None, description="commit, tag or branch; the newest commit is looked up where it is absent"
    )
    snapshots: tuple[str, ...] | None = Field(default=None, description="which of its splits; all if absent")

    def partitions(self, cache: Path) -> list[str]:
        """The splits."""
        return splits(self)

    def fingerprint(self, snapshot: str, cache: Path) -> dict[str, str]:
        """The commit."""
        return {f"hub:{self.dataset}": revision(self)}

    def size(self, snapshot: str, cache: Path) -> Size:
        """From the number of rows that the data set's description gives and the first of them.

        Raises:
            DownloadError: the hub cannot be reached.
            DataError: the description gives no number.
        """
        rows = RowBuilder(self)
        for table, declared in _tables(self, snapshot, revision(self)):
            if declared is None:
                raise DataError(f"source {self.name!r}: {self.dataset!r} does not say how many rows {snapshot!r} has")
            size, wanted = Size(), readable_columns(table.schema, rows)
            for batch in table.to_batches():
                for full in add_table(batch, 0, rows, wanted):
                    size += self.size_of(full)
            for last in rows.drain(None):
                size += self.size_of(last)
            return size * (declared / int(table.num_rows))
        return Size()

    def batches(self, snapshot: str, found: Listing, cache: Path) -> Iterator[tuple[str, Batch]]:
        """The rows of a split at its commit, streamed in windows of Arrow; positions number them.

        A failing connection ends the ingest with an error: it says nothing about the data.

        Raises:
            DownloadError: the hub cannot be reached, or the connection fails on the way.
        """
        name = f"hub:{self.dataset}"
        rows = RowBuilder(self)
        position = 0
        declared: int | None = None
        wanted: set[str] | None = None
        for table, told in _tables(self, snapshot, revision(self)):
            declared = told
            wanted = readable_columns(table.schema, rows) if wanted is None else wanted
            for batch in table.to_batches():
                before = rows.met
                try:
                    for full in add_table(batch, position, rows, wanted):
                        yield name, full
                except damage() as error:
                    lost = batch.num_rows - (rows.met - before)
                    rows.fail(position, -1, "", f"{lost} rows cannot be read: {error}", rows=lost)
                position += batch.num_rows
        if declared is not None and declared != position:
            reason = f"the data set's description counts {declared} rows of split {snapshot!r}, {position} came"
            rows.fail(position, -1, "", reason, rows=0)
        for last in rows.drain(position):
            yield name, last


def _unreachable(source: HubSource, error: BaseException) -> DownloadError:
    return DownloadError(
        f"source {source.name!r}: the hub does not give {source.dataset!r} ({type(error).__name__}: {error}); "
        "check the id, the network, HF_ENDPOINT and HF_HUB_OFFLINE, and HF_TOKEN where access is restricted; "
        "or save the data set with save_to_disk and read it as a folder source"
    )


def revision(source: HubSource) -> str:
    """The commit that the source's revision means now.

    Raises:
        DownloadError: the hub cannot be reached or does not know the data set.
    """
    if source.revision and len(source.revision) == 40 and not set(source.revision) - set("0123456789abcdef"):
        return source.revision
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(source.dataset, revision=source.revision, timeout=30).sha
    except Exception as error:  # Which errors there are depends on the HTTP library that the hub's client picks.
        raise _unreachable(source, error) from error
    if found is None:
        raise DataError(f"source {source.name!r}: the hub names no commit of {source.dataset!r}; set revision")
    return str(found)


def splits(source: HubSource) -> list[str]:
    """Names of the data set's splits, sorted.

    Raises:
        DownloadError: the hub cannot be reached or does not know the data set.
    """
    if source.snapshots:
        return sorted(source.snapshots)
    with extra("hub", "a source of the kind hub"):
        import datasets

    try:
        return sorted(
            map(str, datasets.get_dataset_split_names(source.dataset, source.config, revision=source.revision))
        )
    except Exception as error:  # Which errors there are depends on the HTTP library that the hub's client picks.
        raise _unreachable(source, error) from error


def _tables(source: HubSource, split: str, commit: str) -> Iterator[tuple[pa.Table, int | None]]:
    """Windows of a split, each with the number of rows that the data set's description gives, if it does."""
    with extra("hub", "a source of the kind hub"):
        import datasets

    try:
        # Columns such as images stay undecoded: only text and numbers are looked at.
        stream: Any = datasets.load_dataset(
            source.dataset, source.config, split=split, revision=commit, streaming=True
        ).with_format("arrow")
        about = (stream.info.splits or {}).get(split)
        for table in stream.iter(batch_size=WINDOW_ROWS):
            yield table, getattr(about, "num_examples", None) or None
    except Exception as error:  # Which errors there are depends on the HTTP library that the hub's client picks.
        raise _unreachable(source, error) from error


SOURCE = HubSource
