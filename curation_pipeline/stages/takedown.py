"""Requests that a document, a page or a whole site be used no more."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.corpus.addresses import canonical_host, hosts_of, page_of, split_url, trimmed
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.runs import sorted_runs
from curation_pipeline.stages.texts import table_parts

TARGETS = ("doc_id", "url", "domain")
_FIELDS = (*TARGETS, "reason", "request_id", "date")
SCHEMA: dict[str, pl.DataType] = {"line": pl.Int64(), "given": pl.Utf8(), **dict.fromkeys(_FIELDS, pl.Utf8())}
"""One of doc_id, url (a page) and domain (a host and all below it) says what is meant, in its canonical form; given: as
the file has it, on that line; date is ISO 8601."""
MATCHES_SCHEMA: dict[str, pl.DataType] = {
    "line": pl.Int64(),
    "given": pl.Utf8(),
    "request_id": pl.Utf8(),
    "documents": pl.Int64(),
}
_ID = re.compile(r"[0-9A-Fa-f]{32}")


def read_takedown_requests(path: Path) -> pl.DataFrame:
    """The requests of a CSV or JSONL file, with the columns of `SCHEMA`.

    Raises:
        DataError: the file cannot be read, lacks its columns, or a row names nothing, more than one thing, or something
            that cannot be understood.
    """
    rows: list[dict[str, object]] = []
    bad: list[int] = []
    for row, (line, record) in enumerate(_records(path), start=1):
        fields = {name: trimmed(record.get(name) or "") or None for name in _FIELDS}
        named = [name for name in TARGETS if fields[name]]
        if len(named) != 1:
            bad.append(row)
            continue
        given = str(fields[named[0]])
        try:
            fields[named[0]] = _CANONICAL[named[0]](given)
        except ValueError as error:
            raise DataError(
                f"removal.takedown_requests: {path}, line {line}, column {named[0]}: {given!r} {error}"
            ) from error
        rows.append({"line": line, "given": f"{named[0]} {given}", **fields})
    if bad:
        raise DataError(
            f"removal.takedown_requests: {path}: rows {bad[:5]} must each name exactly one of {', '.join(TARGETS)}"
        )
    return pl.DataFrame(rows, schema=SCHEMA)


def _records(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The line on which each record ends, and its fields by lower-case name."""
    line, reader = 0, None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix in (".jsonl", ".ndjson"):
                names: set[str] = set()
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        record = json.loads(text)
                        if not isinstance(record, dict) or any(isinstance(v, dict | list) for v in record.values()):
                            raise ValueError("is no object of plain values")
                        _once([trimmed(key).lower() for key in record])
                        fields = {trimmed(key).lower(): None if v is None else str(v) for key, v in record.items()}
                        "".join(filter(None, fields.values())).encode()  # half a surrogate pair names nothing
                        names |= fields.keys()
                        yield line, fields
            else:
                reader = csv.reader(file, strict=True)
                header = [trimmed(name).lower() for name in next(reader, [])]
                names = set(header)
                _once([name for name in header if name])
                while (values := next(reader, None)) is not None:
                    if len(values) > len(header):
                        raise ValueError(
                            f"has {len(values)} fields, the header {len(header)}: quote values with commas"
                        )
                    if values and names & set(TARGETS):
                        yield reader.line_num, dict(zip(header, values, strict=False))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        line = line if reader is None else reader.line_num
        raise DataError(
            f"removal.takedown_requests: {path}, line {line}, cannot be read as CSV or JSONL: {error}"
        ) from error
    if not names & set(TARGETS):
        raise DataError(f"removal.takedown_requests: {path} has none of the columns {', '.join(TARGETS)}")


def _once(names: list[str]) -> None:
    """Refuses a name that comes twice: which of the two is meant is not said."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names {twice[0]!r} more than once")


def _domain(given: str) -> str:
    """The host that is meant, without the sign for all below it, which every domain means."""
    try:
        # A bare IPv6 address has colons that lead to no port.
        parts = split_url(given if "//" in given or given.count(":") < 2 else f"//[{given.strip('[]')}]")
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"is no domain ({error})") from None
    if parts.path.strip("/*") or parts.query:
        raise ValueError("names a page, not a domain; put it into the column url")
    if "@" in parts.netloc and not parts.scheme:
        raise ValueError("is an e-mail address, not a domain")
    return canonical_host(re.sub(r"^(?:\*?\.)+", "", host))


def _page(given: str) -> str:
    if given.endswith("*") or re.match(r"(?:[^/]*//)?[^/]*\*", given):
        raise ValueError("has a wildcard; a site is named in the column domain, a page by its whole address")
    return page_of(given)


_CANONICAL = {
    "doc_id": lambda given: given.lower() if _ID.fullmatch(given) else given,
    "url": _page,
    "domain": _domain,
}


def matches(documents: pl.DataFrame, requests: pl.DataFrame) -> pl.DataFrame:
    """Which documents a request names.

    Args:
        documents: columns doc_id and url.
        requests: the table of requests.

    Returns:
        Columns doc_id and detail (why, and by which request), one row a document.
    """
    detail = pl.concat_str(
        pl.col("reason").fill_null("no reason given"),
        pl.format(" (request {})", pl.col("request_id")).fill_null(""),
    ).alias("detail")
    found = _matched(documents, requests.with_columns(detail).with_row_index("request"))
    return (
        found.sort("request", maintain_order=True).unique("doc_id", keep="first", maintain_order=True).drop("request")
    )


def request_matches(
    lake: Lake, corpus: Mapping[str, Mapping[str, str]], requests: Manifest, folder: Path
) -> pl.DataFrame:
    """How many distinct documents of a corpus each request names.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations.
        requests: the artefact of requests.
        folder: an existing folder for what does not fit into memory.

    Returns:
        Rows of `MATCHES_SCHEMA`, one a request, in the file's order.
    """
    table = lake.frame(requests).with_row_index("request")
    numbered = table.with_columns(pl.lit(None, pl.Utf8).alias("detail"))
    counts = np.zeros(table.height, np.int64)
    with sorted_runs(folder) as found:
        found.append(pl.DataFrame(schema={"doc_id": pl.Utf8(), "request": pl.UInt32()}))
        for ids in corpus.values() if table.height else ():
            for documents in table_parts(lake, lake.get(ids["documents"]), ["doc_id", "url"]):
                found.append(_matched(documents, numbered).select("doc_id", "request"))
        for part in found.merged():
            counts += np.bincount(part.unique()["request"].to_numpy(), minlength=table.height)
    return table.with_columns(pl.Series("documents", counts)).select(MATCHES_SCHEMA.keys())


def _matched(documents: pl.DataFrame, requests: pl.DataFrame) -> pl.DataFrame:
    """Rows of doc_id, detail and request (its row), of every request that names a document; some may repeat."""
    kept = ["doc_id", "detail", "request"]
    by_id = documents.select("doc_id").join(requests.drop_nulls("doc_id").select(kept), on="doc_id")
    hosts = documents.with_columns(hosts_of(documents["url"]))
    pages = requests.drop_nulls("url")
    # A page is worked out for the few documents whose host a request names, and for those without a host.
    wanted = hosts_of(pages["url"]).drop_nulls().implode()
    near = hosts.drop_nulls("url").filter(
        pl.col("host").is_null() | pl.col("host").str.strip_prefix("www.").is_in(wanted)
    )
    near = near.with_columns(pl.Series("url", [page_of(url) for url in near["url"].to_list()], dtype=pl.Utf8))
    by_page = near.select("doc_id", "url").join(pages.select("url", "detail", "request"), on="url")
    # A request for a domain holds for every host below it: each host is tried with its leading labels cut off. One for
    # the host "www" of a site means the site's own name, too.
    labels = hosts.drop_nulls("host").select("doc_id", "host", pl.col("host").str.split(".").alias("labels"))
    suffixes = labels.with_columns(start=pl.int_ranges(0, pl.col("labels").list.len())).explode("start")
    cut = pl.col("labels").list.slice(pl.col("start"), pl.col("labels").list.len()).list.join(".")
    own = labels.select("doc_id", pl.format("www.{}", "host").alias("domain"))
    tried = pl.concat([suffixes.select("doc_id", cut.alias("domain")), own])
    by_domain = tried.join(requests.drop_nulls("domain").select("domain", "detail", "request"), on="domain")
    return pl.concat([frame.select(kept) for frame in (by_id, by_page, by_domain)])
