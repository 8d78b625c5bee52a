"""CSV and TSV with a header row, by the quoting rules of RFC 4180, taken up again after stray quotation marks."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from curation_pipeline.corpus.lines import Block, Gap, blocks
from curation_pipeline.corpus.rows import Batch, ReadOptions, RowBuilder
from curation_pipeline.corpus.streams import Piece

KEEP_LINES = 4_096
"""Lines already read are let go in runs of at least this many."""

SHORT_SPAN = 64 * 1024
"""Characters that one record may span once a file has made the reader go back too often."""

FREE_REREAD = 64 * 1024 * 1024
REREAD_RATIO = 8
"""A file may be read again, behind stray quotation marks, this many times over and ``FREE_REREAD`` characters."""


class _TooWideError(Exception):
    """A record does not end where it must at the latest."""


def read_delimited(stream: Iterable[Piece], delimiter: str, options: ReadOptions) -> Iterator[Batch]:
    """Batches of a CSV stream whose first row names the columns; positions number its records.

    Damaged bytes stay in their row. A stray quotation mark, which would swallow the rows up to the next one, costs only
    its own line: a record over several lines that does not fit the header is given up, and reading resumes at its
    second line.
    """
    # A process-wide setting of the csv module. The span of a record is bounded here, so raising it changes no result.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    rows = RowBuilder(options)
    feed = _Feed(blocks(stream, options.max_document_bytes), options.max_document_bytes)
    header: list[str] | None = None
    position = 0
    reader = csv.reader(feed.hand_out(), delimiter=delimiter, strict=True)
    while True:
        start = feed.begin()
        problem = ""
        try:
            fields = next(reader)
        except StopIteration:
            gap = feed.next_segment()
            if gap is None:
                break
            rows.fail(position, gap.offset, gap.excerpt, gap.reason)
            # Without the names of the columns no row behind the damage can be read.
            header, position = header or [], position + 1
            reader = csv.reader(feed.hand_out(), delimiter=delimiter, strict=True)
            continue
        except (_TooWideError, csv.Error) as error:
            fields, problem = [], "a quotation mark is not closed" if feed.ended else f"not valid CSV: {error}"
            reader = csv.reader(feed.hand_out(), delimiter=delimiter, strict=True)
            if feed.index == start + 1 and not feed.ended:
                # One line quoted more loosely than the rules say, such as `"a" b,c`: most programs read it.
                fields, problem = _loosely(feed.lines[start], delimiter, problem)
        if not problem and not feed.is_unicode(start):
            problem = "not valid UTF-8"
        if header is None and not problem:
            header = [name.strip() for name in fields]
            continue
        if not problem and not fields:
            continue
        if header is None:
            header, problem = [], f"the header is damaged: {problem}"
        elif not problem and len(fields) != len(header):
            problem = f"{len(fields)} fields where the header has {len(header)}"
        problem = problem or rows.record(position, dict(zip(header, fields, strict=True)))
        if problem:
            # Only what fits the header may have been meant to stand on several lines.
            several = len(fields) != len(header)
            rows.fail(position, feed.offset(start), feed.raw(start, 1 if several else None), problem)
            if several:
                feed.back_to(start + 1)
        position += 1
        if rows.full:
            yield rows.take()
    yield from rows.drain()


def _loosely(line: str, delimiter: str, problem: str) -> tuple[list[str], str]:
    try:
        return next(csv.reader([line], delimiter=delimiter)), ""
    except csv.Error:
        return [], problem


class _Feed:
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

    def back_to(self, index: int) -> None:
        """Hand the lines from ``index`` on out once more."""
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

    def raw(self, start: int, count: int | None) -> str:
        """The beginning of a record as it stands in the file: of ``count`` lines, or of all handed out."""
        stop = self.index if count is None else start + count
        return "".join(self.lines[start : min(stop, start + 200)])
