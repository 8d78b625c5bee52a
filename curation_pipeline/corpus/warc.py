"""Common Crawl's WARC and WET files: records found one by one, so that a damaged one costs no other."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from curation_pipeline.corpus.pages import MAX_DEPTH, decode, main_text, nesting
from curation_pipeline.corpus.rows import Batch, ReadOptions, RowBuilder, excerpt
from curation_pipeline.corpus.streams import Damage, Piece

MAX_HEADER_BYTES = 64 * 1024

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,15})[ \t]*\r?$")
_START = re.compile(rb"WARC/1\.\d\r?\n[A-Za-z]")
_START_REACH = 32

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes of one record.

    Attributes:
        offset: of its first byte in the decompressed stream.
        raw: header and block; for a record that cannot be read, only its beginning.
        problem: why it cannot be read; empty where it can.
    """

    offset: int
    raw: bytes
    problem: str = ""


def read_warc(stream: Iterable[Piece], options: ReadOptions) -> Iterator[Batch]:
    """Batches of a WARC or WET stream; positions number its records, of whatever type.

    Documents are the pages with status 200 of ``response`` and ``resource`` records and the texts of ``conversion``
    records. Responses with another status, other types of content and pages without main text are failures with their
    reason. Records about the crawl (``warcinfo``, ``request``, ``metadata``) are no rows.

    Each record is parsed by fastwarc; where it begins and ends is found out here, because a reader of whole files loses
    what follows a damaged length.
    """
    rows = RowBuilder(options)
    position = 0
    for segment in _segments(stream):
        records = _Framer(segment, options.max_document_bytes).records()
        for record in records:
            if record.problem:
                rows.fail(position, record.offset, record.raw, record.problem)
            else:
                _add(record, position, rows)
            position += 1
            if rows.full:
                yield rows.take()
        if segment.damage:
            rows.fail(position, segment.end, b"", f"the file breaks off here: {segment.damage}")
            position += 1
    yield from rows.drain()


def _add(record: Record, position: int, rows: RowBuilder) -> None:
    """One sound record: a document, a failure, or neither."""
    from fastwarc.warc import ArchiveIterator

    problem, url = "", ""
    try:
        found = next(iter(ArchiveIterator(io.BytesIO(record.raw + b"\r\n\r\n"), parse_http=False)), None)
        if found is None:
            problem = "fastwarc finds no record here"
        else:
            # Wget puts angle brackets around the address.
            url = (found.headers.get("WARC-Target-URI") or "").strip("<>")
            problem = _add_parsed(found, url, position, rows)
    except (ValueError, OSError, RuntimeError, EOFError, LookupError) as error:
        problem = f"not a readable record: {excerpt(str(error))}"
    if problem:
        rows.fail(position, record.offset, url or record.raw, problem)


def _add_parsed(found: Any, url: str, position: int, rows: RowBuilder) -> str:
    kind = (found.headers.get("WARC-Type") or "").strip().lower()
    if kind not in ("response", "resource", "conversion", "revisit"):
        return "" if kind in ("warcinfo", "request", "metadata", "continuation") else f"a record of type {kind}"
    if url.startswith("metadata:"):
        return ""  # Wget's own log, which it writes as resources.
    if kind == "revisit":
        return "a revisit: its content stands in another record"
    most = rows.options.max_document_bytes
    status: int | None = None
    about = found.headers.get("Content-Type") or ""
    if kind == "response":
        if not about.lower().startswith("application/http"):
            return f"a response of type {about!r}, not HTTP"
        found.parse_http(auto_decode="all")
        if found.http_headers is None:
            return "a response without an HTTP header"
        status = found.http_headers.status_code
        if status != 200:
            return f"HTTP status {status}"
        about = found.http_headers.get("Content-Type") or ""
    mime = about.partition(";")[0].strip().lower()
    body = found.reader.read(most + 1)
    if len(body) > most:
        return f"a page of more than max_document_bytes = {most} bytes"
    if kind == "conversion":
        try:
            text = body.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            return f"not valid UTF-8 at byte {error.start} of the text"
    elif mime in HTML_TYPES:
        html = decode(body, found.http_charset if kind == "response" else None)
        if (depth := nesting(html)) > MAX_DEPTH:
            return f"a page that nests its elements {depth} deep, more than {MAX_DEPTH}"
        text = main_text(html, rows.options.extractor)
    elif mime == "text/plain":
        text = decode(body, found.http_charset if kind == "response" else None).strip()
    else:
        return f"content of type {mime or 'unknown'}, not text"
    if not text:
        return "no main text was found in the page"
    more = {
        "content_type": mime,
        "http_status": status,
        "languages": found.headers.get("WARC-Identified-Content-Language"),
        "record_id": found.headers.get("WARC-Record-ID"),
    }
    metadata = orjson.dumps({key: value for key, value in more.items() if value is not None}).decode()
    return rows.text(position, text, url or None, found.headers.get("WARC-Date") or None, metadata)


class _Segment:
    """Pieces up to damage, as an iterator; ``damage`` and ``end`` are known when it has run out."""

    def __init__(self, source: Iterator[Piece], offset: int) -> None:
        self._source = source
        self.start = self.end = offset
        self.damage = ""
        self.last = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._source:
            if isinstance(piece, Damage):
                self.damage = piece.reason
                return
            self.end += len(piece)
            yield piece
        self.last = True


def _segments(stream: Iterable[Piece]) -> Iterator[_Segment]:
    source, offset = iter(stream), 0
    while True:
        segment = _Segment(source, offset)
        yield segment
        if segment.last:
            return
        offset = segment.end


class _Framer:
    """Finds where records begin and end, in memory bounded by the longest record allowed."""

    def __init__(self, segment: _Segment, max_bytes: int) -> None:
        self._pieces = iter(segment)
        self._max = max_bytes
        self._held = bytearray()
        self._at = 0  # of the first byte not yet dealt with, in what is held
        self._offset = segment.start  # of held[0]

    def _need(self, count: int) -> bool:
        """Whether ``count`` bytes are at hand, after reading on."""
        if self._at > 1 << 20:
            self._drop()
        while len(self._held) - self._at < count:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._held += piece
        return True

    def _drop(self) -> None:
        del self._held[: self._at]
        self._offset += self._at
        self._at = 0

    def records(self) -> Iterator[Record]:
        """All records of the segment, sound or not."""
        while True:
            self._need(MAX_HEADER_BYTES)
            while self._held[self._at : self._at + 1] in (bytearray(b"\r"), bytearray(b"\n")):
                self._at += 1
            if not self._need(1):
                return
            self._need(MAX_HEADER_BYTES)
            yield self._record()

    def _record(self) -> Record:
        begun, place = self._at, self._offset + self._at
        if not _START.match(self._held, begun):
            return self._damaged(place, begun, "no record begins here")
        end = _HEADER_END.search(self._held, begun, begun + MAX_HEADER_BYTES)
        length = _LENGTH.search(self._held, begun, end.end()) if end else None
        if end is None or length is None:
            return self._damaged(place, begun + 5, "the record's header is damaged or has no Content-Length")
        header, size = end.end() - begun, int(length[1])
        if size > self._max:
            return self._skip(place, header, size)
        if not self._need(header + size):
            return self._damaged(place, begun + 5, "the record is cut off, or its Content-Length is wrong")
        self._need(header + size + 4 + _START_REACH)
        begun = self._at
        stop = begun + header + size
        behind = bytes(self._held[stop : stop + 4 + _START_REACH])
        if behind and not behind.startswith((b"\r\n\r\n", b"\n\n")) and not _START.match(behind, 4):
            return self._damaged(place, begun + 5, "the record does not end where its Content-Length says")
        raw = bytes(self._held[begun:stop])
        self._at = stop
        return Record(place, raw)

    def _damaged(self, place: int, search: int, problem: str) -> Record:
        """Goes on at the next record that begins at or behind ``search``."""
        raw = bytes(self._held[self._at : self._at + 1_000])
        self._at = max(search, self._at + 1)
        self._seek(None)
        return Record(place, raw, problem)

    def _skip(self, place: int, header: int, size: int) -> Record:
        """Passes over a record that is too long to hold, or claims to be."""
        raw = bytes(self._held[self._at : self._at + 1_000])
        self._at += header
        self._seek(size)
        return Record(place, raw, f"a record of {size} bytes; max_document_bytes is {self._max}")

    def _seek(self, most: int | None) -> None:
        """Moves to where a record begins, ``most`` bytes on at the latest, or to the end of the segment."""
        left = most
        while True:
            have = len(self._held) - self._at
            found = _next_start(self._held, self._at)
            if found is not None and (left is None or found - self._at <= left):
                self._at = found
                return
            # The last bytes may be the beginning of a start.
            step = max(0, have - _START_REACH)
            if left is not None and step >= left:
                self._at += left
                return
            self._at += step
            left = None if left is None else left - step
            self._drop()
            if not self._need(len(self._held) + 1):
                self._at = len(self._held)
                return


def _next_start(held: bytearray, at: int) -> int | None:
    """The first place from ``at`` on where a line begins a record."""
    for found in _START.finditer(held, at):
        if found.start() == 0 or held[found.start() - 1] == 10:
            return found.start()
    return None
