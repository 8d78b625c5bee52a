"""Sources into documents: every row of every file ends as a document, a duplicate, a quarantined or an excluded row.

All works on batches of some 20,000 rows, so memory does not grow with the files; what stays for each document is the
sixteen bytes of its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import polars as pl

from curation_pipeline.corpus import hub
from curation_pipeline.corpus.digests import DigestSet
from curation_pipeline.corpus.files import SourceFile, opened
from curation_pipeline.corpus.listing import Listing, listing
from curation_pipeline.corpus.packaged import PACKAGED, PackagedDataset
from curation_pipeline.corpus.plain import SeparatorError
from curation_pipeline.corpus.readers import reader_for
from curation_pipeline.corpus.rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    FAILURES_SCHEMA,
    ROWS_SCHEMA,
    Batch,
    ReadOptions,
)
from curation_pipeline.corpus.sampling import LimitSketch, before, sample_units
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA, document_ids
from curation_pipeline.corpus.settings import FolderSource, HubSource, PackageSource
from curation_pipeline.corpus.splitting import split_rows
from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.datasets.text import starts_with_key
from curation_pipeline.errors import ConfigError, DataError

INGEST_VERSION = "4"
"""Raised when the same files would give other documents; part of the recipe key of an ingest."""

AnySource = FolderSource | HubSource | PackageSource
Append = Callable[[pl.DataFrame], None]
"""Takes the next rows of a table."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows; ``read == kept + duplicate + quarantined + excluded``.

    Attributes:
        read: documents (after splitting) and failures that were looked at.
        kept: documents that stand for the first time in this partition.
        duplicate: documents whose id stands earlier in this partition; they are in the table, marked.
        quarantined: rows that could not be read or have no text.
        excluded: documents left out because they are, or begin with, a labelled or benchmark text.
        beyond_limit: documents that the source's limit left out; not among those read.
        characters: of the texts of all documents in the table.
        files_read: files, and members of archives, that were given to a reader.
        files_left_alone: files, links and other things in the delivery that were not; with those read, all it holds.
        declared: rows that files of formats with a count of their own say they have.
        accounted: how many of these were met, as a document or behind a failure; the two are equal, or rows were lost.
    """

    read: int
    kept: int
    duplicate: int
    quarantined: int
    excluded: int
    beyond_limit: int = 0
    characters: int = 0
    files_read: int = 0
    files_left_alone: int = 0
    declared: int = 0
    accounted: int = 0


@dataclass(frozen=True, slots=True)
class Ingested:
    """One ingested partition: ``DOCUMENTS_SCHEMA`` and ``QUARANTINE_SCHEMA`` rows in reading order, and the counts."""

    documents: pl.DataFrame
    quarantine: pl.DataFrame
    counts: Counts


def partitions(source: AnySource, cache: Path) -> list[str]:
    """Names of a source's snapshots, sorted. ``cache`` is not read.

    Raises:
        ConfigError: the packaged data set does not exist, or its terms are not accepted.
        DataError: the folder does not exist or holds no file that can be read.
        DownloadError: the hub cannot be reached.
    """
    if isinstance(source, PackageSource):
        dataset = _packaged(source)
        return sorted(source.snapshots or dataset.snapshots)
    return hub.splits(source) if isinstance(source, HubSource) else _snapshots(source, listing(source))


def _snapshots(source: FolderSource, found: Listing) -> list[str]:
    if not found.files:
        wanted = "JSONL, CSV, text, Parquet, JSON, Arrow or WARC file"
        told = "".join(f"; {line}" for line in found.told())
        raise DataError(f"source {source.name!r}: no {wanted} lies in {source.path}{told}")
    return found.snapshots


def everything(source: AnySource, snapshot: str | None = None) -> Listing:
    """What lies in a source, or in one delivery of it, read or left alone; nothing but for folders and buckets.

    Raises:
        DataError: the folder does not exist, or a bucket cannot be read.
    """
    if not isinstance(source, FolderSource):
        return Listing((), ())
    found = listing(source)
    return found if snapshot is None else found.of(snapshot)


def fingerprint(source: AnySource, snapshot: str, cache: Path) -> dict[str, str]:
    """Input file name -> what identifies its content, for the recipe key: the same content gives the same key.

    Files have their sha256; a file in a bucket is read for it once and remembered for its ETag in ``cache``. A data set
    of the hub has its commit. Nothing is downloaded for a package: its archive is pinned by its hash already.

    Raises:
        DataError: the source's folder is missing, or a bucket cannot be read.
        DownloadError: the hub cannot be reached.
    """
    if isinstance(source, PackageSource):
        dataset = _packaged(source)
        return {dataset.archive.filename: dataset.archive.sha256, f"reader:{dataset.name}": str(dataset.version)}
    if isinstance(source, HubSource):
        return {f"hub:{source.dataset}": hub.revision(source)}
    files = {file.delivered: file for file in everything(source, snapshot).files}
    return {name: file.sha256(cache) for name, file in files.items()}


def ingest(source: AnySource, snapshot: str, cache: Path, exclude_keys: frozenset[str] = frozenset()) -> Ingested:
    """Reads one partition into memory; :func:`ingest_into` says more."""
    documents: list[pl.DataFrame] = [pl.DataFrame(schema=DOCUMENTS_SCHEMA)]
    quarantine: list[pl.DataFrame] = [pl.DataFrame(schema=QUARANTINE_SCHEMA)]
    counts = ingest_into(source, snapshot, cache, exclude_keys, documents.append, quarantine.append)
    return Ingested(pl.concat(documents), pl.concat(quarantine), counts)


def ingest_into(
    source: AnySource,
    snapshot: str,
    cache: Path,
    exclude_keys: frozenset[str],
    documents: Append,
    quarantine: Append,
) -> Counts:
    """Reads one partition piece by piece. A source with a limit is read twice: once to find what the sample is.

    Args:
        source: where the documents are.
        snapshot: one of :func:`partitions`.
        cache: folder of downloaded archives.
        exclude_keys: normalised keys of labelled and benchmark texts, which must not be trained on.
        documents: gets frames of ``DOCUMENTS_SCHEMA`` in reading order.
        quarantine: gets frames of ``QUARANTINE_SCHEMA`` in reading order.

    Raises:
        ConfigError: no such snapshot, or the terms of a data set are not accepted.
        DataError: the source's folder is missing, or a bucket cannot be read.
        DownloadError: the hub or a package index cannot be reached.
    """
    found = everything(source)
    names = _snapshots(source, found) if isinstance(source, FolderSource) else partitions(source, cache)
    if snapshot not in names:
        raise ConfigError(f"source {source.name!r} has no snapshot {snapshot!r}: {', '.join(names)}")
    found = found.of(snapshot)
    reading = _Reading(source, snapshot, cache, exclude_keys, found.files)
    cut = None
    if source.limit is not None:
        sketch = LimitSketch(source.limit)
        for rows, _ in reading.prepared():
            sketch.add(rows)
        cut = sketch.cut()
    seen = DigestSet()
    total = dict.fromkeys((field.name for field in fields(Counts)), 0)
    for rows, failures in reading.prepared():
        looked_at = rows.height
        if cut is not None:
            rows = rows.filter(before(cut))
        total["beyond_limit"] += looked_at - rows.height
        total["excluded"] += int(rows["excluded"].sum())
        rows = rows.filter(~pl.col("excluded"))
        rows = rows.with_columns(seen.add(rows["doc_id"]).alias("duplicate"), **reading.constants())
        duplicate = int(rows["duplicate"].sum())
        total["kept"] += rows.height - duplicate
        total["duplicate"] += duplicate
        total["quarantined"] += failures.height
        total["characters"] += int(rows["text"].str.len_chars().sum())
        if rows.height:
            documents(rows.select(pl.col(name).cast(kind) for name, kind in DOCUMENTS_SCHEMA.items()))
        if failures.height:
            place = {"source": pl.lit(source.name), "snapshot": pl.lit(snapshot)}
            quarantine(failures.with_columns(**place).select(list(QUARANTINE_SCHEMA)))
    total["files_read"], total["files_left_alone"] = len(found.files), len(found.left)
    total |= {"declared": reading.declared, "accounted": reading.accounted}
    total["read"] = sum(total[name] for name in ("kept", "duplicate", "quarantined", "excluded"))
    return Counts(**total)


class _Reading:
    """One way through a partition, which can be gone again."""

    def __init__(
        self,
        source: AnySource,
        snapshot: str,
        cache: Path,
        exclude_keys: frozenset[str],
        files: tuple[SourceFile, ...],
    ) -> None:
        self.source, self.snapshot, self.cache, self.exclude_keys = source, snapshot, cache, exclude_keys
        self.files = files
        self._packaged_rows: pl.DataFrame | None = None
        self.declared = self.accounted = 0

    def constants(self) -> dict[str, pl.Expr]:
        """Columns that have one value throughout, and the size."""
        language: str | None
        if isinstance(self.source, PackageSource):
            domain, language = _packaged(self.source).domain, "en"
        else:
            domain, language = self.source.domain, self.source.language
        named = {"source": self.source.name, "snapshot": self.snapshot, "domain": domain, "language": language}
        expressions = {name: pl.lit(value, dtype=pl.Utf8) for name, value in named.items()}
        return expressions | {"n_bytes": pl.col("text").str.len_bytes().cast(pl.Int64)}

    def prepared(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Rows with file, doc_id and excluded, and the columns a limit needs where there is one; and failures."""
        ordinal = self.declared = self.accounted = 0
        for rows, failures in _coalesced(self._counted()):
            if self.source.limit is not None:
                rows = rows.with_columns(
                    sample_units(document_ids(rows["text"])),
                    pl.int_range(ordinal, ordinal + pl.len(), dtype=pl.Int64).alias("ordinal"),
                    pl.lit(0, dtype=pl.Int64).alias("part"),
                )
                ordinal += rows.height
            if self.source.max_chars is not None:
                rows = split_rows(rows, self.source.max_chars)
            if self.exclude_keys:
                excluded = starts_with_key(rows["text"], self.exclude_keys)
            else:
                excluded = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True).alias("excluded")
            yield rows.with_columns(document_ids(rows["text"]), excluded), failures

    def _counted(self) -> Iterator[tuple[str, Batch]]:
        for file, batch in self._batches():
            self.declared += batch.declared
            self.accounted += batch.accounted
            yield file, batch

    def _batches(self) -> Iterator[tuple[str, Batch]]:
        """File names and batches."""
        source = self.source
        if isinstance(source, PackageSource):
            yield from self._packaged_batches(source)
            return
        shared = set(ReadOptions.__dataclass_fields__) & set(type(source).model_fields)
        options = ReadOptions(**{name: getattr(source, name) for name in shared})
        if isinstance(source, HubSource):
            for batch in hub.read_hub(source, self.snapshot, hub.revision(source), options):
                yield f"hub:{source.dataset}", batch
            return
        meters: dict[str, Meter] = {}
        for file, stream, problem in opened(self.files):
            reader = reader_for(file.name, source.text_split)
            if stream is None or reader is None:
                row = {"position": 0, "offset": 0, "excerpt": "", "reason": problem}
                yield file.name, Batch(pl.DataFrame(), pl.DataFrame([row], schema=FAILURES_SCHEMA))
                continue
            own = options
            if file.member is not None:
                # One archive has one limit, however many members it spreads its bytes over.
                meter = meters.setdefault(file.place, options.fresh_meter())
                meter.share = min(1.0, file.member.compress_size / max(1, file.member.file_size))
                own = replace(options, meter=meter)
            try:
                for batch in reader(stream, file.name, own):
                    yield file.name, batch
            except SeparatorError as error:
                raise DataError(f"source {source.name!r}, file {file.name!r}: {error}") from error

    def _packaged_batches(self, source: PackageSource) -> Iterator[tuple[str, Batch]]:
        dataset = _packaged(source)
        if self._packaged_rows is None:  # An archive is unpacked in memory in any case: once is enough.
            self._packaged_rows = dataset.read(fetch(dataset.archive, self.cache), self.snapshot)
        rows = self._packaged_rows.filter(pl.col("text").str.strip_chars() != "").with_columns(
            pl.lit(None, dtype=pl.Utf8).alias("url"),
            pl.lit(None, dtype=pl.Utf8).alias("created_at"),
            pl.lit("{}").alias("metadata"),
        )
        if source.limit is not None:
            rows = rows.sort("file", "position", maintain_order=True)
        nothing = pl.DataFrame(schema=FAILURES_SCHEMA)
        for (file,), part in rows.group_by("file", maintain_order=True):
            for piece in part.iter_slices(BATCH_ROWS):
                yield str(file), Batch(piece.drop("file"), nothing)


def _coalesced(batches: Iterator[tuple[str, Batch]]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Batches of many small files as few frames, so that the table's row groups are neither small nor large."""
    rows: list[pl.DataFrame] = []
    failures: list[pl.DataFrame] = []
    height = size = 0
    for file, batch in batches:
        name = pl.lit(file, dtype=pl.Utf8).alias("file")
        if batch.rows.height:
            rows.append(batch.rows.with_columns(name))
            height += batch.rows.height
            size += int(batch.rows.estimated_size())
        if batch.failures.height:
            failures.append(batch.failures.with_columns(name))
            height += batch.failures.height
        if height >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _joined(rows, failures)
            rows, failures, height, size = [], [], 0, 0
    if rows or failures:
        yield _joined(rows, failures)


_FILE: dict[str, pl.DataType] = {"file": pl.Utf8()}


def _joined(rows: list[pl.DataFrame], failures: list[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    columns = [*ROWS_SCHEMA, "file"]
    return (
        pl.concat([pl.DataFrame(schema=ROWS_SCHEMA | _FILE), *(frame.select(columns) for frame in rows)]),
        pl.concat([pl.DataFrame(schema=FAILURES_SCHEMA | _FILE), *failures]),
    )


def _packaged(source: PackageSource) -> PackagedDataset:
    dataset = next((entry for entry in PACKAGED if entry.name == source.dataset), None)
    if dataset is None:
        allowed = ", ".join(entry.name for entry in PACKAGED)
        raise ConfigError(f"source {source.name!r}: no packaged data set {source.dataset!r}; allowed: {allowed}")
    if dataset.restricted and not source.accept_licence:
        raise ConfigError(
            f"source {source.name!r}: the licence of {dataset.name} is {dataset.licence!r}; "
            "read its terms and set accept_licence = true to use it"
        )
    missing = sorted(set(source.snapshots or ()) - set(dataset.snapshots))
    if missing:
        raise ConfigError(
            f"source {source.name!r}: {dataset.name} has no snapshots {missing}; "
            f"allowed: {', '.join(dataset.snapshots)}"
        )
    return dataset
