"""Columns of the two tables that the ingest writes."""

from __future__ import annotations

import polars as pl

DOCUMENTS_SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "source": pl.Utf8(),
    "snapshot": pl.Utf8(),
    "file": pl.Utf8(),
    "position": pl.Int64(),
    "text": pl.Utf8(),
    "url": pl.Utf8(),
    "domain": pl.Utf8(),
    "language": pl.Utf8(),
    "created_at": pl.Utf8(),
    "n_bytes": pl.Int64(),
    "metadata": pl.Utf8(),
    "duplicate": pl.Boolean(),
}
"""doc_id: 32 hexadecimal digits. position: row in its file, from 0. n_bytes: of the text in UTF-8. domain: register
(encyclopaedia, conversation, ...). created_at: as the source gives it, ISO 8601 where known. metadata: a JSON object.
duplicate: the doc_id came before in the same partition."""

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.Utf8(),
    "snapshot": pl.Utf8(),
    "file": pl.Utf8(),
    "position": pl.Int64(),
    "offset": pl.Int64(),
    "excerpt": pl.Utf8(),
    "reason": pl.Utf8(),
}
"""offset: of the row's first byte in its file (decompressed, and in UTF-8), -1 where the format has none. excerpt: at
most 200 characters of what stood there."""

EXCERPT_CHARS = 200
