"""Common Crawl's WARC and WET files: records found one by one, so that a damaged one costs no other."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson
from pydantic import Field

from curation_pipeline.corpus.charsets import UnreadableError, charset_of, decode_page, decode_strictly
from curation_pipeline.corpus.payload import (
    HTML_TYPES,
    MAX_DEPTH,
    Extractor,
    content_type,
    decoded_body,
    fields,
    http_message,
    main_text,
    nesting,
    sniffed_type,
)
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder, excerpt
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.corpus.streams import Damage, Piece

MAX_HEADER_BYTES = 64 * 1024

# Where the blank line is missing, an HTTP status line cannot be a field.
_HEADER_END = re.compile(rb"\r?\n(?:[ \t]*\r?\n|(?=HTTP/\d))")
_LENGTH = re.compile(r"\d{1,15}\b")
_START = re.compile(rb"WARC/\d{1,2}\.\d{1,2}[ \t]*\r?\n[A-Za-z]")
_START_REACH = 32

_DOCUMENTS = ("response", "resource", "conversion")
_ABOUT_THE_CRAWL = ("warcinfo", "request", "metadata")


@dataclass(frozen=True, slots=True)
class WarcRecord:
    """One record, or bytes between records.

    Attributes:
        offset: of its first byte in the decompressed stream.
        raw: its block; of what cannot be read, the beginning.
        problem: why it cannot be read; empty where it can.
        header: its fields by their names in lower case.
    """

    offset: int
    raw: bytes
    problem: str = ""
    header: dict[str, str] = field(default_factory=dict)


class WarcSettings(FileSettings):
    """How web pages are read."""

    extractor: Extractor = Field(
        default="resiliparse", description="what takes the main text out of a web page; trafilatura is an extra install"
    )


def read_warc(stream: Iterable[Piece], settings: WarcSettings) -> Iterator[Batch]:
    """Batches of a WARC or WET stream; positions number its records, of whatever type.

    Documents are the pages with status 200 of ``response`` and ``resource`` records and the texts of ``conversion``
    records. Responses with another status, other types of content, pages without main text and records in several
    segments are failures with their reason, and so are the bytes passed over where a record cannot be read. Records
    about the crawl (``warcinfo``, ``request``, ``metadata``) are no rows.

    Nothing is believed that can be checked: a length where the next record begins elsewhere, an encoding that the body
    is not in, a type that its bytes are not of.
    """
    rows = RowBuilder(settings)
    position = offset = 0
    pieces = iter(stream)
    damage: str | None = ""
    while damage is not None:
        framer = _Framer(pieces, offset, settings.max_document_bytes)
        for record in framer.records():
            if record.problem:
                rows.fail(position, record.offset, record.raw, record.problem)
            else:
                _add(record, position, rows, settings.extractor)
            position += 1
            if rows.full:
                yield rows.take()
        offset, damage = framer.end, framer.damage
        if damage is not None:
            rows.fail(position, offset, b"", f"the file breaks off here: {damage}")
            position += 1
    yield from rows.drain()


def _add(record: WarcRecord, position: int, rows: RowBuilder, extractor: Extractor) -> None:
    """One sound record: a document, a failure, or neither."""
    # Wget puts angle brackets around the address.
    url = record.header.get("warc-target-uri", "").strip("<>")
    try:
        problem = _add_document(record, url, position, rows, extractor)
    except UnreadableError as error:
        problem = str(error)
    except (ValueError, OSError, RuntimeError, LookupError) as error:
        problem = f"not a readable record: {excerpt(str(error))}"
    if problem:
        if cut := record.header.get("warc-truncated"):
            problem += f" (the crawler truncated the record: {cut})"
        rows.fail(position, record.offset, url or record.raw, problem)


def _add_document(record: WarcRecord, url: str, position: int, rows: RowBuilder, extractor: Extractor) -> str:
    header, most = record.header, rows.settings.max_document_bytes
    kind = header.get("warc-type", "").lower()
    # Wget writes its own log as resources.
    if kind in _ABOUT_THE_CRAWL or (kind != "continuation" and url.startswith("metadata:")):
        return ""
    if kind == "revisit":
        return "a revisit: its content is in another record"
    if kind == "continuation" or (kind in _DOCUMENTS and "warc-segment-number" in header):
        number = header.get("warc-segment-number", "?")
        return f"partial: segment {number} of the record {header.get('warc-segment-origin-id', url)}"
    if kind not in _DOCUMENTS:
        return f"a record of type {kind}"
    body, about, status = record.raw, header.get("content-type", ""), None
    if kind == "response":
        if not about.lower().startswith("application/http") and about and not body.startswith(b"HTTP/"):
            return f"a response of type {about!r}, not HTTP"
        message = http_message(body)
        status, about = message.status, message.header.get("content-type", "")
        if status != 200:
            return f"HTTP status {status}"
        body = decoded_body(message, most)
    mime = sniffed_type(content_type(about), body)
    charset = charset_of(about)
    if mime in HTML_TYPES:
        html = decode_page(body, charset, "html" if mime == "text/html" else "xhtml")
        if (depth := nesting(html)) > MAX_DEPTH:
            return f"a page that nests its elements {depth} deep, more than {MAX_DEPTH}"
        text = main_text(html, extractor)
    elif kind == "conversion":
        text = decode_strictly(body, charset).strip()
    elif mime == "text/plain":
        text = decode_page(body, charset, "").strip()
    else:
        return f"content of type {mime or 'unknown'}, not text"
    if not text:
        return "no main text was found in the page"
    more = {
        "content_type": mime,
        "http_status": status,
        "languages": header.get("warc-identified-content-language"),
        "record_id": header.get("warc-record-id"),
        "truncated": header.get("warc-truncated"),
    }
    metadata = orjson.dumps({key: value for key, value in more.items() if value is not None}).decode()
    return rows.text(position, text, url or None, header.get("warc-date") or None, metadata)


class _Framer:
    """Finds where records begin and end up to the next damage, in memory bounded by the longest record allowed.

    Attributes:
        damage: what is wrong where the records end; None at the end of the file.
    """

    def __init__(self, pieces: Iterator[Piece], offset: int, max_bytes: int) -> None:
        self.damage: str | None = None
        self._pieces: Iterator[Piece] = pieces
        self._max = max_bytes
        self._held = bytearray()
        self._at = 0  # of the first byte not yet dealt with, in what is held
        self._offset = offset  # of held[0]

    @property
    def end(self) -> int:
        """Offset of the first byte that has not been taken from the pieces."""
        return self._offset + len(self._held)

    def _need(self, count: int) -> bool:
        """Whether ``count`` bytes are at hand, after reading on."""
        if self._at > 1 << 20:
            self._drop()
        while len(self._held) - self._at < count:
            piece = next(self._pieces, None)
            if isinstance(piece, Damage):
                self.damage, self._pieces = piece.reason, iter(())
            if not isinstance(piece, bytes):
                return False
            self._held += piece
        return True

    def _drop(self) -> None:
        del self._held[: self._at]
        self._offset += self._at
        self._at = 0

    def records(self) -> Iterator[WarcRecord]:
        """All records of the segment, sound or not."""
        while True:
            self._need(MAX_HEADER_BYTES)
            while self._held[self._at : self._at + 1] in (bytearray(b"\r"), bytearray(b"\n")):
                self._at += 1
            if not self._need(1):
                return
            self._need(MAX_HEADER_BYTES)
            yield self._record()

    def _record(self) -> WarcRecord:
        begun, place = self._at, self._offset + self._at
        if not _START.match(self._held, begun):
            return self._damaged(place, begun, "no record begins here")
        found = _header(self._held, begun)
        if found is None:
            return self._damaged(place, begun + 5, "the record's header is damaged or has no Content-Length")
        header, end, size = found
        end -= begun
        if size > self._max:
            return self._skip(place, end, size)
        if not self._need(end + size):
            return self._damaged(place, begun + 5, "the record is cut off, or its Content-Length is wrong")
        self._need(end + size + 4 + _START_REACH)
        begun = self._at
        stop = begun + end + size
        behind = bytes(self._held[stop : stop + 4 + _START_REACH])
        next_one = behind.lstrip(b"\r\n")
        sure = not next_one or _START.match(next_one)
        if not sure and not behind.startswith((b"\r\n\r\n", b"\n\n")) and not _START.match(behind, 4):
            return self._damaged(place, begun + 5, "the record does not end where its Content-Length says")
        block = bytes(self._held[begun + end : stop])
        inner = _swallowed(block) if sure else _next_start(block, 0)
        if inner is not None and not _has_digest(header, block):
            return self._damaged(place, begun + end + inner, "the record's Content-Length reaches over other records")
        self._at = stop
        return WarcRecord(place, block, header=header)

    def _damaged(self, place: int, search: int, problem: str) -> WarcRecord:
        """Continues at the next record that begins at or behind ``search``."""
        raw = bytes(self._held[self._at : self._at + 1_000])
        self._at = max(search, self._at + 1)
        self._seek(None)
        return self._passed_over(place, raw, problem)

    def _skip(self, place: int, header: int, size: int) -> WarcRecord:
        """Passes over a record that is too long to hold, or claims to be."""
        raw = bytes(self._held[self._at : self._at + 1_000])
        self._at += header
        self._seek(size)
        return self._passed_over(place, raw, f"a record of {size} bytes; max_document_bytes is {self._max}")

    def _passed_over(self, place: int, raw: bytes, problem: str) -> WarcRecord:
        return WarcRecord(place, raw, f"{problem}; {self._offset + self._at - place} bytes are passed over")

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


def _next_start(held: bytes | bytearray, at: int) -> int | None:
    """The first place from ``at`` on where a record begins: a line, or where damage took its beginning, `WARC-...`."""
    for found in _START.finditer(held, at):
        if found.start() == 0 or held[found.start() - 1] == 10 or held.startswith(b"WARC-", found.end() - 1):
            return found.start()
    return None


def _header(held: bytes | bytearray, at: int) -> tuple[dict[str, str], int, int] | None:
    """The fields of the record that begins at ``at``, where its block begins and how long that is said to be."""
    end = _HEADER_END.search(held, at, at + MAX_HEADER_BYTES)
    if end is None:
        return None
    header = fields(bytes(held[at : end.start()]))
    length = _LENGTH.match(header.get("content-length", ""))
    return (header, end.end(), int(length[0])) if length else None


def _swallowed(block: bytes) -> int | None:
    """Where in a block whole records begin that fill it to its end: they are others', not its content."""
    found = _next_start(block, 0)
    at = found
    while at is not None and (inner := _header(block, at)):
        at = inner[1] + inner[2]
        while block[at : at + 1] in (b"\r", b"\n"):
            at += 1
        if at >= len(block):
            return found if at == len(block) else None
        at = at if _START.match(block, at) else None
    return None


def _has_digest(header: dict[str, str], block: bytes) -> bool:
    """Whether a block is the one that its record's digest was made of."""
    name, _, digest = header.get("warc-block-digest", "").partition(":")
    try:
        found = hashlib.new(name.replace("-", ""), block, usedforsecurity=False)
    except ValueError:
        return False
    return digest.lower() in (found.hexdigest(), base64.b32encode(found.digest()).decode().lower().rstrip("="))


READERS = (FileReader((".warc", ".wet"), read_warc, takes="bytes", settings=WarcSettings),)
