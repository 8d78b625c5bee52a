"""Tombstones: requests that a document, a page or a whole site be used no more."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft, file_sha256
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context

TABLE = "tombstones"
CODE_VERSION = "1"
SCHEMA: dict[str, pl.DataType] = dict.fromkeys(("doc_id", "url", "domain", "reason", "request_id", "date"), pl.Utf8())
"""One of doc_id, url (exact) and domain (a host and all below it) says what is meant; date is ISO 8601."""
TARGETS = ("doc_id", "url", "domain")


def read_tombstones(path: Path) -> pl.DataFrame:
    """The requests of a CSV or JSONL file, with the columns of `SCHEMA`.

    Raises:
        DataError: the file cannot be read, lacks its columns, or a row names nothing or more than one thing.
    """
    try:
        lines = path.suffix in (".jsonl", ".ndjson")
        frame = pl.read_ndjson(path) if lines else pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"removal.tombstones: {path} cannot be read as CSV or JSONL: {error}") from error
    if not set(TARGETS) & set(frame.columns):
        raise DataError(f"removal.tombstones: {path} has none of the columns {', '.join(TARGETS)}")
    frame = frame.select(
        (pl.col(name).cast(pl.Utf8).str.strip_chars() if name in frame.columns else pl.lit(None, pl.Utf8)).alias(name)
        for name in SCHEMA
    ).with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in SCHEMA)
    named = frame.select(pl.sum_horizontal(pl.col(name).is_not_null() for name in TARGETS)).to_series()
    if bad := [row + 1 for row, count in enumerate(named) if count != 1]:
        raise DataError(
            f"removal.tombstones: {path}: rows {bad[:5]} must each name exactly one of {', '.join(TARGETS)}"
        )
    return frame.with_columns(pl.col("domain").str.to_lowercase())


def tombstones(ctx: Context) -> Manifest:
    """The requests in force, from the file that the profile names; an empty table where it names none.

    Raises:
        DataError: see `read_tombstones`.
    """
    path = ctx.profile.removal.tombstones
    if path is not None and not path.is_file():
        raise DataError(f"removal.tombstones: there is no file {path}")
    recipe = Recipe(TABLE, {}, (), {"sha256": file_sha256(path) if path else None}, 0, CODE_VERSION)

    def make(draft: Draft) -> None:
        frame = read_tombstones(path) if path else pl.DataFrame(schema=SCHEMA)
        draft.frame(frame)
        draft.summary["requests"] = frame.height

    return ctx.lake.build(recipe, make)


def buried(documents: pl.DataFrame, requests: pl.DataFrame) -> pl.DataFrame:
    """Which documents a request names.

    Args:
        documents: columns doc_id and url.
        requests: the table of tombstones.

    Returns:
        Columns doc_id and detail (why, and by which request), one row a document.
    """
    detail = pl.concat_str(
        pl.col("reason").fill_null("no reason given"),
        pl.format(" (request {})", pl.col("request_id")).fill_null(""),
    ).alias("detail")
    requests = requests.with_columns(detail)
    hosts = documents.with_columns(
        pl.col("url").str.extract(r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@]*@)?([^/:?#]+)").str.to_lowercase().alias("host")
    )
    by_id = documents.select("doc_id").join(requests.drop_nulls("doc_id").select("doc_id", "detail"), on="doc_id")
    by_url = documents.join(requests.drop_nulls("url").select("url", "detail"), on="url").select("doc_id", "detail")
    # A request for a domain holds for every host below it: each host is tried with its leading labels cut off.
    labels = hosts.drop_nulls("host").select("doc_id", pl.col("host").str.split(".").alias("labels"))
    suffixes = labels.with_columns(start=pl.int_ranges(0, pl.col("labels").list.len())).explode("start")
    suffixes = suffixes.select(
        "doc_id",
        pl.col("labels").list.slice(pl.col("start"), pl.col("labels").list.len()).list.join(".").alias("domain"),
    )
    by_domain = suffixes.join(requests.drop_nulls("domain").select("domain", "detail"), on="domain")
    found = pl.concat([by_id.select("doc_id", "detail"), by_url, by_domain.select("doc_id", "detail")])
    return found.unique("doc_id", keep="first", maintain_order=True)
