"""Sources into documents: every row of every file ends as a document, a duplicate, a quarantined or an excluded row.

All works on batches of some 20,000 rows, so memory does not grow with the files; what stays for each document is the
sixteen bytes of its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import polars as pl

from curation_pipeline.corpus.digests import DigestSet
from curation_pipeline.corpus.listing import Listing
from curation_pipeline.corpus.parts import batches
from curation_pipeline.corpus.rows import BATCH_BYTES, BATCH_ROWS, FAILURES_SCHEMA, ROWS_SCHEMA, Batch
from curation_pipeline.corpus.sampling import LimitSketch, before, sample_units
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.source import SourceSettings
from curation_pipeline.corpus.splitting import split_rows
from curation_pipeline.datasets.text import starts_with_key, text_ids
from curation_pipeline.engine.settings import ONE_PROCESS, EngineSettings
from curation_pipeline.errors import ConfigError

INGEST_VERSION = "4"
"""Raised when the same files would give other documents; part of the recipe key of an ingest."""

Append = Callable[[pl.DataFrame], None]
"""Takes the next rows of a table."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows; ``read == kept + duplicate + quarantined + excluded``.

    Attributes:
        read: documents (after splitting) and failures that were looked at.
        kept: documents that come for the first time in this partition.
        duplicate: documents whose id came before in this partition; they are in the table, marked.
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


def partitions(source: SourceSettings, cache: Path) -> list[str]:
    """Names of a source's snapshots, sorted; see :meth:`SourceSettings.partitions`."""
    return source.partitions(cache)


def everything(source: SourceSettings, snapshot: str | None = None) -> Listing:
    """What lies in a source, or in one delivery of it, read or left alone; nothing but for folders and buckets.

    Raises:
        DataError: the folder does not exist, or a bucket cannot be read.
    """
    found = source.listing()
    return found if snapshot is None else found.of(snapshot)


def fingerprint(source: SourceSettings, snapshot: str, cache: Path) -> dict[str, str]:
    """Input file name -> what identifies its content; see :meth:`SourceSettings.fingerprint`."""
    return source.fingerprint(snapshot, cache)


def ingest_into(
    source: SourceSettings,
    snapshot: str,
    cache: Path,
    exclude_keys: frozenset[str],
    documents: Append,
    quarantine: Append,
    engine: EngineSettings = ONE_PROCESS,
) -> Counts:
    """Reads one partition piece by piece. A source with a limit is read twice: once to find what the sample is.

    Args:
        source: where the documents are.
        snapshot: one of :func:`partitions`.
        cache: folder of downloaded archives.
        exclude_keys: normalised keys of labelled and benchmark texts, which must not be trained on.
        documents: gets frames of ``DOCUMENTS_SCHEMA`` in reading order.
        quarantine: gets frames of ``QUARANTINE_SCHEMA`` in reading order.
        engine: what files are read on.

    Raises:
        ConfigError: no such snapshot, or the terms of a data set are not accepted.
        DataError: the source's folder is missing, or a bucket cannot be read.
        DownloadError: the hub or a package index cannot be reached.
    """
    found = source.listing()
    names = found.snapshots or source.partitions(cache)
    if snapshot not in names:
        raise ConfigError(f"source {source.name!r} has no snapshot {snapshot!r}: {', '.join(names)}")
    found = found.of(snapshot)
    domain, language = source.genre_and_language()
    named = {"source": source.name, "snapshot": snapshot, "domain": domain, "language": language}
    constants = {name: pl.lit(value, dtype=pl.Utf8) for name, value in named.items()}
    cut = None
    if source.limit is not None:
        sketch = LimitSketch(source.limit)
        for part in _prepared(source, snapshot, found, cache, exclude_keys, engine):
            sketch.add(part.rows)
        cut = sketch.cut()
    seen = DigestSet()
    total = dict.fromkeys((field.name for field in fields(Counts)), 0)
    for part in _prepared(source, snapshot, found, cache, exclude_keys, engine):
        rows = part.rows if cut is None else part.rows.filter(before(cut))
        total["beyond_limit"] += part.rows.height - rows.height
        total["excluded"] += int(rows["excluded"].sum())
        rows = rows.filter(~pl.col("excluded"))
        rows = rows.with_columns(
            seen.add(rows["doc_id"]).alias("duplicate"),
            pl.col("text").str.len_bytes().cast(pl.Int64).alias("n_bytes"),
            **constants,
        )
        duplicate = int(rows["duplicate"].sum())
        total["kept"] += rows.height - duplicate
        total["duplicate"] += duplicate
        total["quarantined"] += part.failures.height
        total["characters"] += int(rows["text"].str.len_chars().sum())
        total["declared"] += part.declared
        total["accounted"] += part.accounted
        if rows.height:
            documents(rows.select(pl.col(name).cast(kind) for name, kind in DOCUMENTS_SCHEMA.items()))
        if part.failures.height:
            quarantine(part.failures.with_columns(**constants).select(list(QUARANTINE_SCHEMA)))
    total["files_read"], total["files_left_alone"] = len(found.files), len(found.left)
    total["read"] = sum(total[name] for name in ("kept", "duplicate", "quarantined", "excluded"))
    return Counts(**total)


def _prepared(
    source: SourceSettings,
    snapshot: str,
    found: Listing,
    cache: Path,
    exclude_keys: frozenset[str],
    engine: EngineSettings,
) -> Iterator[Batch]:
    """Rows with file, doc_id and excluded, and the columns a limit needs where there is one; and failures."""
    ordinal = 0
    for batch in _coalesced(batches(source, snapshot, found, cache, engine)):
        rows = batch.rows
        if source.limit is not None:
            rows = rows.with_columns(
                sample_units(text_ids(rows["text"])),
                pl.int_range(ordinal, ordinal + pl.len(), dtype=pl.Int64).alias("ordinal"),
                pl.lit(0, dtype=pl.Int64).alias("part"),
            )
            ordinal += rows.height
        if source.max_chars is not None:
            rows = split_rows(rows, source.max_chars)
        if exclude_keys:
            excluded = starts_with_key(rows["text"], exclude_keys)
        else:
            excluded = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True).alias("excluded")
        yield replace(batch, rows=rows.with_columns(text_ids(rows["text"]), excluded))


_FILE: dict[str, pl.DataType] = {"file": pl.Utf8()}


def _coalesced(batches: Iterator[tuple[str, Batch]]) -> Iterator[Batch]:
    """Batches of many small files as few, so that the table's row groups are neither small nor large."""
    held: list[tuple[str, Batch]] = []
    height = size = 0
    for file, batch in batches:
        held.append((file, batch))
        height += batch.rows.height + batch.failures.height
        size += int(batch.rows.estimated_size())
        if height >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _joined(held)
            held, height, size = [], 0, 0
    if held:
        yield _joined(held)


def _joined(held: list[tuple[str, Batch]]) -> Batch:
    """One batch whose rows and failures name their files."""
    rows, failures = [pl.DataFrame(schema=ROWS_SCHEMA | _FILE)], [pl.DataFrame(schema=FAILURES_SCHEMA | _FILE)]
    for file, batch in held:
        name = pl.lit(file, dtype=pl.Utf8).alias("file")
        rows.append(batch.rows.select(*ROWS_SCHEMA, name))
        failures.append(batch.failures.select(*FAILURES_SCHEMA, name))
    declared, accounted = (sum(getattr(batch, count) for _, batch in held) for count in ("declared", "accounted"))
    return Batch(pl.concat(rows), pl.concat(failures), declared, accounted)
