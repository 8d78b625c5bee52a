"""Readers of document files, each a generator that turns what it cannot read into a failure and goes on.

A row is ``(position, offset, record)``: its number in the file from 0, the offset of its first byte (in the
decompressed stream; -1 for Parquet), and either the parsed record or a :class:`Failure`.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from curation_pipeline.corpus.streams import MAX_LINE_BYTES, Failure, excerpt, lines

MAX_RESYNCS = 1_000
"""How often one CSV file may be taken up again after a stray quotation mark before the damage is taken as one row."""


Row = tuple[int, int, Mapping[str, Any] | Failure]


def read_jsonl(path: Path) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are skipped."""
    for position, offset, raw in lines(path):
        if isinstance(raw, Failure):
            yield position, offset, raw
            continue
        line = raw.removeprefix(codecs.BOM_UTF8).strip() if position == 0 else raw.strip()
        if not line:
            continue
        try:
            record = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield position, offset, Failure(excerpt(line), f"not valid UTF-8 at byte {error.start} of the line")
        except (ValueError, RecursionError) as error:
            yield position, offset, Failure(excerpt(line), f"not valid JSON: {excerpt(str(error))}")
        else:
            if isinstance(record, dict):
                yield position, offset, record
            else:
                yield position, offset, Failure(excerpt(line), f"a JSON {type(record).__name__}, not an object")


def read_csv(path: Path) -> Iterator[Row]:
    """Rows of a CSV file (``.tsv``: tab-separated) whose first row names the columns.

    Damaged bytes stay in their row. A stray quotation mark, which would swallow the rows up to the next one, costs only
    its own line: the row that has the wrong number of fields is given up and reading resumes at the line after it.
    """
    delimiter = "\t" if ".tsv" in path.name else ","
    # A process-wide setting of the csv module; raising it affects no other reader's result.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    feed = _Feed(lines(path))
    header: list[str] | None = None
    position = resyncs = 0
    rows = csv.reader(feed, delimiter=delimiter)
    while True:
        feed.consumed.clear()
        feed.ended = False
        problem = ""
        try:
            fields = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            problem, fields = f"not valid CSV: {error}", []
        offset = feed.consumed[0][0] if feed.consumed else -1
        raw = "".join(line for _, line in feed.consumed)
        if not problem and feed.ended:
            problem = "a quotation mark is not closed"
        problem = problem or _undecodable(fields)
        if header is None:
            header = [] if problem else [name.strip() for name in fields]
            if not problem:
                continue
            problem = f"the header is damaged: {problem}"
        elif not problem:
            if not fields:
                continue
            if len(fields) != len(header):
                problem = f"{len(fields)} fields where the header has {len(header)}"
        if problem:
            if len(feed.consumed) > 1 and resyncs < MAX_RESYNCS:
                resyncs += 1
                raw = feed.consumed[0][1]
                feed.push_back(list(feed.consumed)[1:])
            rows = csv.reader(feed, delimiter=delimiter)
            yield position, offset, Failure(excerpt(raw), problem)
        else:
            yield position, offset, dict(zip(header, fields, strict=True))
        position += 1
    for failed_offset, failure in feed.failures:
        yield position, failed_offset, failure
        position += 1


def read_parquet(path: Path) -> Iterator[Row]:
    """Rows of a Parquet file; a row group that cannot be read is one failure."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    errors = (pa.ArrowException, OSError, ValueError, KeyError, RuntimeError)
    try:
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    except errors as error:
        yield 0, -1, Failure("", f"not a readable Parquet file: {excerpt(str(error))}")
        return
    with file:
        start = 0
        for group, size in enumerate(sizes):
            done = start
            try:
                for batch in file.iter_batches(batch_size=4096, row_groups=[group]):
                    # Decoded whole first, so that a damaged value cannot break off half a batch.
                    for record in batch.to_pylist():
                        yield done, -1, record
                        done += 1
            except errors as error:
                reason = f"row group {group} ({size} rows) breaks off at row {done - start}: {excerpt(str(error))}"
                yield done, -1, Failure("", reason)
            start += size


READERS: tuple[tuple[tuple[str, ...], Callable[[Path], Iterator[Row]]], ...] = (
    ((".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".jsonl.zst", ".json.zst", ".ndjson.gz"), read_jsonl),
    ((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst"), read_csv),
    ((".parquet", ".pq"), read_parquet),
)
"""Which reader serves which file names."""


def reader_for(path: Path) -> Callable[[Path], Iterator[Row]] | None:
    """The reader for a file by its name, or None."""
    name = path.name.lower()
    return next((reader for suffixes, reader in READERS if name.endswith(suffixes)), None)


class _Feed:
    """Physical lines for ``csv.reader``: remembers what a record consumed, and can be given lines back."""

    def __init__(self, lines: Iterator[tuple[int, int, bytes | Failure]]) -> None:
        self._lines = lines
        self._waiting: deque[tuple[int, str]] = deque()
        self.consumed: deque[tuple[int, str]] = deque()
        self.failures: list[tuple[int, Failure]] = []
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._waiting:
            for position, offset, raw in self._lines:
                if isinstance(raw, Failure):
                    self.failures.append((offset, raw))
                    continue
                # Bytes that are not UTF-8 become lone surrogates, so that the quoting around them still holds.
                text = raw.decode("utf-8", "surrogateescape")
                self._waiting.append((offset, text.removeprefix("\ufeff") if position == 0 else text))
                break
            else:
                self.ended = True
                raise StopIteration
        line = self._waiting.popleft()
        self.consumed.append(line)
        return line[1]

    def push_back(self, lines: list[tuple[int, str]]) -> None:
        """Gives lines back, to be read next."""
        self._waiting.extendleft(reversed(lines))


def _undecodable(fields: list[str]) -> str:
    for field in fields:
        if not field.isascii():
            try:
                field.encode("utf-8")
            except UnicodeEncodeError:
                return "not valid UTF-8"
    return ""
