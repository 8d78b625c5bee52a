"""CSV and TSV with a header row, in the dialect of the file, taken up again after stray quotation marks."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import partial

from pydantic import Field

from curation_pipeline.corpus.lines import Block, Gap, blocks
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.schema import EXCERPT_CHARS
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.corpus.streams import Piece
from curation_pipeline.datasets.dialect import HEAD_CHARS, CsvDialect, Dialect, column_names, find_dialect

KEEP_LINES = 4_096
"""Lines already read are let go in runs of at least this many."""

SHORT_SPAN = 64 * 1024
"""Characters that one record may span once a file has made the reader go back too often."""

LOOK_AHEAD_CHARS = 1024 * 1024
"""Characters behind a broken record in which the next quotation mark is looked for."""

FREE_REREAD = 64 * 1024 * 1024
REREAD_RATIO = 8
"""A file may be read again, behind stray quotation marks, this many times over and ``FREE_REREAD`` characters."""


class _TooWideError(Exception):
    """A record does not end where it must at the latest."""


class DelimitedSettings(FileSettings):
    """How CSV and TSV files are read."""

    csv: CsvDialect = Field(default=CsvDialect(), description="how .csv and .tsv files separate and quote their fields")


def read_delimited(stream: Iterable[Piece], settings: DelimitedSettings, delimiter: str = ",") -> Iterator[Batch]:
    """Batches of a CSV stream whose first row names the columns; positions number its records.

    Damaged bytes stay in their row. A quotation mark in the wrong place costs its own line, and with it those lines of
    which nobody can tell whether they are records or lie inside a field: each becomes a failure.

    Args:
        stream: the file's bytes.
        settings: names of the columns, and the dialect as far as it is given.
        delimiter: the one that goes with the file's suffix.
    """
    # A process-wide setting of the csv module. The span of a record is bounded here, so raising it changes no result.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    rows = RowBuilder(settings)
    feed = _LineFeed(blocks(stream, settings.max_document_bytes), settings.max_document_bytes)
    dialect = find_dialect(feed.head(), settings.csv, delimiter, (settings.text_column,))
    columns = (settings.text_column, settings.url_column, settings.created_at_column)
    named = [name for name in columns if name]
    header: list[str] | None = None
    position = 0
    reader = dialect.reader(feed.hand_out())
    while True:
        start = feed.begin()
        fields: list[str] = []
        problem, broken = "", False
        try:
            fields = next(reader)
        except StopIteration:
            gap = feed.next_segment()
            if gap is None:
                break
            rows.fail(position, gap.offset, gap.excerpt, gap.reason)
            # Without the names of the columns no row behind the damage can be read.
            header, position = header or [], position + 1
            reader = dialect.reader(feed.hand_out())
            continue
        except (_TooWideError, csv.Error) as error:
            broken = True
            problem = "a quotation mark is not closed" if feed.ended else f"not valid CSV: {error}"
            problem += '; where no field is quoted, set csv = { quote = "" } of the source'
            reader = dialect.reader(feed.hand_out())
        if not problem and not feed.is_unicode(start):
            problem = "not valid UTF-8"
        if header is None and not problem:
            header = column_names(fields)
            if twice := [name for name in named if header.count(name) > 1]:
                header, problem = [], f"the header names column {twice[0]!r} more than once; rename one"
                rows.fail(position, feed.offset(start), feed.text(start), problem)
                position += 1
            continue
        if not problem and not fields:
            continue
        if header is None:
            header, problem = [], f"the header is damaged: {problem}"
        elif not problem and len(fields) != len(header):
            problem = f"{len(fields)} fields where the header has {len(header)}"
            broken = feed.index > start + 1 or not dialect.opens(feed.lines[start])
        elif not problem and dialect.escape and dialect.is_ambiguous(feed.text(start)):
            problem = f"{dialect.escape} in a field without quotes can mean two things; set csv.escape of the source"
        problem = problem or rows.record(position, dict(zip(header, fields, strict=True)))
        if broken:
            stop = _resume(feed, start, dialect, len(header))
            for line in range(start, stop):
                place = feed.offset(line)
                rows.fail(position, place, feed.lines[line], problem)
                if line == start:
                    problem = f"may be part of the record that begins at byte {place}: {problem}"[:EXCERPT_CHARS]
                position += 1
            feed.go_to(stop)
        else:
            if problem:
                rows.fail(position, feed.offset(start), feed.text(start), problem)
            position += 1
        if rows.full:
            yield rows.take()
    yield from rows.drain()


def _resume(feed: _LineFeed, start: int, dialect: Dialect, width: int) -> int:
    """The index of the line at which records begin again behind a broken one.

    The next quotation mark decides: if it opens a field, the lines before it are records, or else they are the rest of
    the broken record's field. Lines that do not fit the header are not taken for records either way.

    Args:
        feed: the lines.
        start: index of the line at which the broken record begins.
        dialect: how records are read.
        width: number of columns; 0 where the header is unknown.
    """
    if not width or not dialect.quote or (feed.index == start + 1 and dialect.quote not in feed.lines[start]):
        return start + 1
    line = begin = start + 1
    span = 0
    while True:
        while (has_line := feed.has(line)) and dialect.quote not in feed.lines[line] and span < LOOK_AHEAD_CHARS:
            span += len(feed.lines[line])
            line += 1
        fit = all(_fits(feed.lines[index], dialect, width) for index in range(begin, line))
        if not has_line:
            # With one column every line fits.
            return begin if fit and width > 1 else line
        if span >= LOOK_AHEAD_CHARS or dialect.opens(feed.lines[line]):
            return begin if fit else line
        line = begin = line + 1
        span = 0


def _fits(line: str, dialect: Dialect, width: int) -> bool:
    try:
        return len(next(dialect.reader([line]))) == width
    except csv.Error:
        return False


class _LineFeed:
    """Lines of a file for ``csv.reader``: remembers those of the record in the making, and can go back to them.

    Attributes:
        lines: the lines at hand, with their line feeds.
        index: of the next line to hand out.
        ended: the lines ran out while a record was being read.
    """

    def __init__(self, source: Iterator[Block | Gap], max_span: int) -> None:
        self._source = source
        self._max_span = max_span
        self.lines: list[str] = []
        self.index = 0
        self.ended = False
        self._sizes: list[int] = []
        self._gap: Gap | None = None
        self._known = (0, 0)  # index of a line, and its offset
        self._suspect = False
        self._span = self._read = self._reread = 0
        self._first = 0

    def hand_out(self) -> Iterator[str]:
        """The lines from ``index`` on, up to a gap or the end of the file.

        Raises:
            _TooWideError: the record in the making spans more than it may.
        """
        while True:
            while self.index < len(self.lines):
                line = self.lines[self.index]
                self.index += 1
                self._span += len(line)
                if self._span > self._max_span and self.index > self._first + 1:
                    raise _TooWideError(f"a record spans more than {self._max_span} characters")
                yield line
            if not self._fill():
                self.ended = True
                return

    def _fill(self) -> bool:
        if self._gap is not None:
            return False
        block = next(self._source, None)
        if block is None:
            return False
        if isinstance(block, Gap):
            self._gap = block
            return False
        raw = b"\n".join(block.lines)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            # Bytes that are not UTF-8 become lone surrogates, so that the quoting around them still holds.
            text, self._suspect = raw.decode("utf-8", "surrogateescape"), True
        if block.position == 0:
            text = text.removeprefix("\ufeff")
        if not self.lines:
            self._known = (0, block.offset)
        new = [line + "\n" for line in text.split("\n")]
        if block.last_open:
            new[-1] = new[-1][:-1]
        self.lines += new
        self._sizes += [len(line) + 1 for line in block.lines]
        self._read += len(text)
        return True

    def begin(self) -> int:
        """A new record begins: the index of its first line. Lines of earlier records may be let go."""
        if self.index >= KEEP_LINES or self.index == len(self.lines):
            self._known = (0, self.offset(self.index))
            del self.lines[: self.index], self._sizes[: self.index]
            self.index = 0
            self._suspect = self._suspect and bool(self.lines)
        self._span, self._first, self.ended = 0, self.index, False
        return self.index

    def next_segment(self) -> Gap | None:
        """The gap at which the lines ran out, or None at the end of the file; lines go on behind it."""
        gap, self._gap = self._gap, None
        return gap

    def head(self) -> list[str]:
        """The first lines, up to about ``HEAD_CHARS`` characters, before any is handed out."""
        while self._read < HEAD_CHARS and self._fill():
            pass
        return self.lines

    def has(self, index: int) -> bool:
        """Whether there is a line of this index before the next gap."""
        while index >= len(self.lines):
            if not self._fill():
                return False
        return True

    def go_to(self, index: int) -> None:
        """Hand out the lines from ``index`` on, once more where they were handed out before."""
        self._reread += sum(len(line) for line in self.lines[index : self.index])
        self.index = index
        if self._reread > FREE_REREAD + REREAD_RATIO * self._read:
            self._max_span = min(self._max_span, SHORT_SPAN)

    def is_unicode(self, start: int) -> bool:
        """Whether the lines from ``start`` to the last one handed out were valid UTF-8."""
        if not self._suspect:
            return True
        try:
            for line in self.lines[start : self.index]:
                line.encode("utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def offset(self, index: int) -> int:
        """Offset of the first byte of a line; ``index`` never goes back."""
        known, offset = self._known
        offset += sum(self._sizes[known:index])
        self._known = (index, offset)
        return offset

    def text(self, start: int) -> str:
        """The record in the making as it is in the file: the lines handed out from ``start`` on."""
        lines = self.lines[start : self.index]
        return lines[0] if len(lines) == 1 else "".join(lines)


READERS = (
    FileReader((".csv",), read_delimited, settings=DelimitedSettings),
    FileReader((".tsv",), partial(read_delimited, delimiter="\t"), settings=DelimitedSettings),
)
