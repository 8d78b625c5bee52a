"""Rows on their way from a file to the table: one builder through which every reader gives documents and failures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from curation_pipeline.corpus.schema import EXCERPT_CHARS
from curation_pipeline.corpus.source import ReadSettings

BATCH_ROWS = 20_000
BATCH_BYTES = 32 * 1024 * 1024

ROWS_SCHEMA: dict[str, pl.DataType] = {
    "text": pl.Utf8(),
    "position": pl.Int64(),
    "url": pl.Utf8(),
    "created_at": pl.Utf8(),
    "metadata": pl.Utf8(),
}
FAILURES_SCHEMA: dict[str, pl.DataType] = {
    "position": pl.Int64(),
    "offset": pl.Int64(),
    "excerpt": pl.Utf8(),
    "reason": pl.Utf8(),
}


SIMPLE = frozenset((str, int, float, bool))
"""Types of the fields that go into a document's metadata."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Up to about ``BATCH_ROWS`` rows of one file.

    Attributes:
        rows: ``ROWS_SCHEMA``: texts that are not blank, are valid Unicode and no longer than allowed.
        failures: ``FAILURES_SCHEMA``: what could not be read, and why.
        declared: rows that the file itself says it has; told once, with its last batch, by formats that say so.
        accounted: how many of these became a row or stand behind a failure.
    """

    rows: pl.DataFrame
    failures: pl.DataFrame
    declared: int = 0
    accounted: int = 0


def excerpt(raw: bytes | str) -> str:
    """The first ``EXCERPT_CHARS`` characters of ``raw``, always printable as UTF-8."""
    if isinstance(raw, bytes):
        text = raw[: 4 * EXCERPT_CHARS].decode("utf-8", "backslashreplace")
    else:
        text = raw[:EXCERPT_CHARS]
    return text[:EXCERPT_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")[:EXCERPT_CHARS]


class RowBuilder:
    """Collects rows and failures of one file until there are enough for a batch.

    Attributes:
        uncertain: a failure costs rows that nobody can count.
    """

    def __init__(self, settings: ReadSettings) -> None:
        """Start empty.

        Args:
            settings: names of the columns, and the longest text allowed.
        """
        self.settings = settings
        # Looked up for every row, which takes longer in a settings model.
        self._columns = settings.text_column, settings.url_column, settings.created_at_column
        self._named, self._most = {*self._columns}, settings.max_document_bytes
        self._met, self.uncertain = 0, False
        self._clear()

    def _clear(self) -> None:
        self._texts: list[str] = []
        self._positions: list[int] = []
        self._urls: list[str | None] = []
        self._created: list[str | None] = []
        self._metadata: list[str] = []
        self._failures: list[tuple[int, int, str, str]] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether it is time for :meth:`take`."""
        return len(self._texts) + len(self._failures) >= BATCH_ROWS or self._bytes >= BATCH_BYTES

    @property
    def met(self) -> int:
        """Rows that were added, or stand behind a failure that says how many they are."""
        return self._met + len(self._texts)

    def take(self) -> Batch:
        """What was collected since the last time."""
        self._met += len(self._texts)
        columns: tuple[list[Any], ...] = (self._texts, self._positions, self._urls, self._created, self._metadata)
        series = [
            pl.Series(name, values, dtype=kind)
            for (name, kind), values in zip(ROWS_SCHEMA.items(), columns, strict=True)
        ]
        batch = Batch(pl.DataFrame(series), pl.DataFrame(self._failures, schema=FAILURES_SCHEMA, orient="row"))
        self._clear()
        return batch

    def drain(self, declared: int | None = None) -> Iterator[Batch]:
        """The last batch, where there is anything left.

        Args:
            declared: rows that the file itself says it has; None where its format does not say.
        """
        if declared is not None:
            last = self.take()
            yield Batch(last.rows, last.failures, declared, declared if self.uncertain else self.met)
        elif self._texts or self._failures:
            yield self.take()

    def fail(self, position: int, offset: int, raw: bytes | str, reason: str, rows: int | None = 1) -> None:
        """Add a failure: what stood there, and what is wrong in words a user can act on.

        Args:
            position: of the first row that it costs.
            offset: of its first byte, -1 where the format has none.
            raw: what stood there.
            reason: what is wrong.
            rows: how many rows it costs; None where nobody can tell.
        """
        self._failures.append((position, offset, excerpt(raw), excerpt(reason)))
        self._met += rows or 0
        self.uncertain = self.uncertain or rows is None

    def record(self, position: int, record: Mapping[str, Any]) -> str:
        """Add a parsed record of named fields, unless its text is none.

        Returns:
            Why it cannot be a document; empty where it was added. The caller, who knows the place, reports it.
        """
        text_column, url_column, created_at_column = self._columns
        text = record.get(text_column)
        if type(text) is not str:
            if text is None:
                return f"no text in column {text_column!r} (columns: {', '.join(map(str, list(record)[:12]))})"
            return f"column {text_column!r} holds a {type(text).__name__}, not text"
        if len(record) == 1:
            return self.text(position, text)
        try:
            url = _plain(record.get(url_column)) if url_column else None
            created = _plain(record.get(created_at_column)) if created_at_column else None
        except RecursionError:
            return f"column {url_column!r} or {created_at_column!r} nests too deep to be a plain value"
        return self.text(position, text, url, created, simple_fields(record, self._named))

    def text(
        self, position: int, text: str, url: str | None = None, created: str | None = None, metadata: str = "{}"
    ) -> str:
        """Add a text, unless it is blank, too long or not valid Unicode; the result is that of :meth:`record`."""
        if not text or text.isspace():
            return f"the text in column {self._columns[0]!r} is empty"
        size = len(text)
        if not text.isascii():
            try:
                size = len(text.encode("utf-8"))
            except UnicodeEncodeError:
                return "the text has half of a surrogate pair, which no encoding can hold"
        if size > self._most:
            return f"a text of {size} bytes; max_document_bytes is {self._most}"
        self._texts.append(text)
        self._positions.append(position)
        self._urls.append(url)
        self._created.append(created)
        self._metadata.append(metadata)
        self._bytes += size + len(metadata)
        return ""


def _plain(value: object) -> str | None:
    """A field as text, or None; what cannot be encoded is escaped."""
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def simple_fields(record: Mapping[str, Any], named: set[str | None]) -> str:
    """The fields that are not in ``named`` and hold text, a number or a truth value, as a JSON object, keys sorted.

    Numbers that JSON cannot hold become null.
    """
    other = {key: value for key, value in record.items() if type(value) in SIMPLE and key not in named}
    if not other:
        return "{}"
    try:
        return orjson.dumps(other, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        # Half surrogates, and whole numbers beyond 64 bits.
        finite = {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in other.items()
        }
        return json.dumps(finite, sort_keys=True, separators=(",", ":"))
