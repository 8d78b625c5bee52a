"""Sources into documents: every row of every file ends as a document, a duplicate, a quarantined or an excluded row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.corpus.packaged import PACKAGED, PackagedDataset
from curation_pipeline.corpus.readers import reader_for
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA, document_ids
from curation_pipeline.corpus.settings import FolderSource, PackageSource
from curation_pipeline.corpus.splitting import split_text
from curation_pipeline.corpus.streams import Failure, excerpt
from curation_pipeline.datasets.packages import fetch, file_sha256
from curation_pipeline.datasets.text import starts_with_key
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.seeds import unit_hash

INGEST_VERSION = "1"
"""Raised when the same files would give other documents; part of the recipe key of an ingest."""

LIMIT_SEED = 11
"""Which documents a limit keeps depends on their text and on this constant alone."""

LOOSE_FILES = "all"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows; ``read == kept + duplicate + quarantined + excluded``.

    Attributes:
        read: documents (after splitting) and failures that were looked at.
        kept: documents that stand for the first time in this partition.
        duplicate: documents whose id stands earlier in this partition; they are in the table, marked.
        quarantined: rows that could not be read or have no text.
        excluded: documents left out because they are, or begin with, a labelled or benchmark text.
    """

    read: int
    kept: int
    duplicate: int
    quarantined: int
    excluded: int


@dataclass(frozen=True, slots=True)
class Ingested:
    """One ingested partition: ``DOCUMENTS_SCHEMA`` and ``QUARANTINE_SCHEMA`` rows in reading order, and the counts."""

    documents: pl.DataFrame
    quarantine: pl.DataFrame
    counts: Counts


def partitions(source: FolderSource | PackageSource, cache: Path) -> list[str]:
    """Names of a source's snapshots, sorted. ``cache`` is not read for either kind of source.

    Raises:
        ConfigError: the packaged data set does not exist, or its terms are not accepted.
        DataError: the folder does not exist or holds no file that can be read.
    """
    if isinstance(source, PackageSource):
        dataset = _packaged(source)
        return sorted(source.snapshots or dataset.snapshots)
    if not source.path.is_dir():
        raise DataError(f"source {source.name!r}: {source.path} is not a folder; check its path in the profile")
    names = [entry.name for entry in source.path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    odd = sorted(name for name in names if "|" in name)
    if odd:
        raise DataError(f"source {source.name!r}: the snapshot folder {odd[0]!r} has a '|' in its name; rename it")
    found = sorted(name for name in {*names, LOOSE_FILES} if _files(source, name))
    if not found:
        raise DataError(f"source {source.name!r}: no JSONL, CSV or Parquet file lies in {source.path}")
    return found


def fingerprint(source: FolderSource | PackageSource, snapshot: str, cache: Path) -> dict[str, str]:
    """Input file name -> sha256 of its content, for the recipe key: the same content gives the same key.

    Nothing is downloaded: a package archive is pinned by its hash already. ``cache`` is not read.
    """
    if isinstance(source, PackageSource):
        dataset = _packaged(source)
        return {dataset.archive.filename: dataset.archive.sha256, f"reader:{dataset.name}": str(dataset.version)}
    return {path.relative_to(source.path).as_posix(): file_sha256(path) for path in _files(source, snapshot)}


def ingest(
    source: FolderSource | PackageSource, snapshot: str, cache: Path, exclude_keys: frozenset[str] = frozenset()
) -> Ingested:
    """Reads one partition.

    Args:
        source: where the documents are.
        snapshot: one of :func:`partitions`.
        cache: folder of downloaded archives.
        exclude_keys: normalised keys of labelled and benchmark texts, which must not be trained on.

    Raises:
        ConfigError: no such snapshot, or the terms of a data set are not accepted.
        DataError: the source's folder is missing.
    """
    if snapshot not in partitions(source, cache):
        raise ConfigError(
            f"source {source.name!r} has no snapshot {snapshot!r}: {', '.join(partitions(source, cache))}"
        )
    limit: int | None = None
    language: str | None = "en"
    if isinstance(source, PackageSource):
        dataset = _packaged(source)
        rows = dataset.read(fetch(dataset.archive, cache), snapshot).with_columns(
            pl.lit(None, dtype=pl.Utf8).alias("url"),
            pl.lit(None, dtype=pl.Utf8).alias("created_at"),
            pl.lit("{}").alias("metadata"),
        )
        rows = rows.filter(pl.col("text").str.strip_chars() != "")
        failures, domain, limit = _quarantine([]), dataset.domain, source.limit
        if limit is not None:
            rows = rows.sort(pl.Series(unit_hash(document_ids(rows["text"]), LIMIT_SEED)), maintain_order=True)
    else:
        rows, failures = _read_folder(source, snapshot)
        domain, language = source.domain, source.language
    if source.max_chars is not None:
        rows = _split(rows, source.max_chars)
    rows = rows.with_columns(document_ids(rows["text"]), starts_with_key(rows["text"], exclude_keys))
    repeated = (~pl.col("doc_id").is_first_distinct()).alias("duplicate")
    rows = rows.with_columns(repeated)
    kept = ~pl.col("excluded") & ~pl.col("duplicate")
    if limit is not None:
        # The rows come in the order of a hash, so the first ones that count are a random sample.
        rows = rows.filter(kept.cast(pl.Int64).cum_sum() - kept.cast(pl.Int64) < limit)
        rows = rows.sort("file", "position", maintain_order=True)
        rows = rows.with_columns(repeated)
    constants = {"source": source.name, "snapshot": snapshot, "domain": domain, "language": language}
    documents = rows.filter(~pl.col("excluded")).with_columns(
        *(pl.lit(value, dtype=pl.Utf8).alias(name) for name, value in constants.items()),
        pl.col("text").str.len_bytes().cast(pl.Int64).alias("n_bytes"),
    )
    documents = documents.select([pl.col(name).cast(kind) for name, kind in DOCUMENTS_SCHEMA.items()])
    quarantine = failures.with_columns(pl.lit(source.name).alias("source"), pl.lit(snapshot).alias("snapshot"))
    duplicate = int(documents["duplicate"].sum())
    counts = Counts(
        read=rows.height + quarantine.height,
        kept=documents.height - duplicate,
        duplicate=duplicate,
        quarantined=quarantine.height,
        excluded=int(rows["excluded"].sum()),
    )
    return Ingested(documents, quarantine.select(QUARANTINE_SCHEMA.keys()), counts)


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


def _files(source: FolderSource, snapshot: str) -> list[Path]:
    """Readable files of a snapshot, sorted by name; hidden ones are left alone."""
    folder = source.path / snapshot
    found = list(folder.rglob("*")) if folder.is_dir() else []
    if snapshot == LOOSE_FILES:
        found += list(source.path.glob("*"))
    return sorted(
        path
        for path in found
        if reader_for(path)
        and not any(part.startswith(".") for part in path.relative_to(source.path).parts)
        and path.is_file()
    )


def _read_folder(source: FolderSource, snapshot: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with text, file, position, url, created_at, metadata; and the quarantine without source and snapshot."""
    columns: dict[str, list[Any]] = {name: [] for name in ("text", "file", "position", "url", "created_at", "metadata")}
    failures: list[tuple[str, int, int, str, str]] = []
    named = {source.text_column, source.url_column, source.created_at_column}
    for path in _files(source, snapshot):
        reader = reader_for(path)
        name = path.relative_to(source.path).as_posix()
        for position, offset, record in reader(path) if reader else ():
            if isinstance(record, Failure):
                failures.append((name, position, offset, record.excerpt, record.reason))
                continue
            text = record.get(source.text_column)
            problem = _text_problem(text, source.text_column, record)
            if problem:
                failures.append((name, position, offset, excerpt(str(text or "")), problem))
                continue
            columns["text"].append(text)
            columns["file"].append(name)
            columns["position"].append(position)
            columns["url"].append(_plain(record, source.url_column))
            columns["created_at"].append(_plain(record, source.created_at_column))
            columns["metadata"].append(_metadata(record, named))
    schema = {name: pl.Int64 if name == "position" else pl.Utf8 for name in columns}
    return pl.DataFrame(columns, schema=schema), _quarantine(failures)


def _text_problem(text: object, column: str, record: Mapping[str, Any]) -> str:
    if text is None:
        return f"no text in column {column!r} (columns: {excerpt(', '.join(map(str, list(record)[:12])))})"
    if not isinstance(text, str):
        return f"column {column!r} holds a {type(text).__name__}, not text"
    if not text.strip():
        return f"the text in column {column!r} is empty"
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return "the text has half of a surrogate pair, which no encoding can hold"
    return ""


def _plain(record: Mapping[str, Any], column: str | None) -> str | None:
    """A field as text, or None; what cannot be encoded is escaped."""
    value = record.get(column) if column else None
    return None if value is None or value == "" else str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _metadata(record: Mapping[str, Any], named: set[str | None]) -> str:
    """The other simple fields as a JSON object."""
    other = {
        str(key): value if isinstance(value, str | int | bool) or math.isfinite(value) else None
        for key, value in record.items()
        if key not in named and isinstance(value, str | int | float | bool)
    }
    return json.dumps(other, sort_keys=True) if other else "{}"


def _quarantine(failures: list[tuple[str, int, int, str, str]]) -> pl.DataFrame:
    schema = {name: kind for name, kind in QUARANTINE_SCHEMA.items() if name not in {"source", "snapshot"}}
    return pl.DataFrame(failures, schema=schema, orient="row")


def _split(rows: pl.DataFrame, max_chars: int) -> pl.DataFrame:
    """Rows longer than ``max_chars`` as several, with part and parts in their metadata; order is kept."""
    if not (rows["text"].str.len_chars() > max_chars).any():
        return rows
    parts = [split_text(text, max_chars) if len(text) > max_chars else [text] for text in rows["text"].to_list()]
    rows = rows.with_columns(pl.Series("text", parts, dtype=pl.List(pl.Utf8)))
    rows = rows.with_columns(
        pl.int_ranges(pl.col("text").list.len().cast(pl.Int64)).alias("part"), pl.col("text").list.len().alias("parts")
    ).explode("text", "part")
    marks = pl.format('"part": {}, "parts": {}}}', pl.col("part"), pl.col("parts"))
    start = pl.col("metadata").str.strip_suffix("}")
    marked = pl.when(pl.col("metadata") == "{}").then(start + marks).otherwise(start + pl.lit(", ") + marks)
    return rows.with_columns(
        pl.when(pl.col("parts") > 1).then(marked).otherwise(pl.col("metadata")).alias("metadata")
    ).drop("part", "parts")
