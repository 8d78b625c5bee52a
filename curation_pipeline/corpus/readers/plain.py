"""Plain text, parted into documents by the rule that its source declares."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal, Self

import regex
from pydantic import Field, model_validator

from curation_pipeline.corpus.charsets import LEGIBLE
from curation_pipeline.corpus.lines import Gap, blocks
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.corpus.streams import Damage, Piece
from curation_pipeline.errors import DataError

SEPARATOR_REACH = 4 * 1024
"""A separator is looked for only this far from the end of what has been read: more text could make it longer."""

MATCH_SECONDS = 10.0
"""CPU seconds that looking for a separator may take, and one more for each MB looked through: a thousand times the
usual. It is a guard against expressions that try every way to part a text, and no result depends on it."""


TextSplit = Literal["file", "paragraphs", "lines", "regex"]
"""How plain text becomes documents: the whole file, at blank lines, each line, at matches of a regular expression."""


class PlainSettings(FileSettings):
    """How plain text is read."""

    text_split: TextSplit | None = Field(
        default=None, description="how .txt files become documents; they are left alone where it is absent"
    )
    text_separator: str | None = Field(
        default=None,
        min_length=1,
        description="the regular expression between documents, for text_split = 'regex'; "
        "matched against bytes, so that \\s and \\w mean ASCII, and no longer than 4096 of them",
    )

    @model_validator(mode="after")
    def _separator(self) -> Self:
        if (self.text_split == "regex") != (self.text_separator is not None):
            raise ValueError("text_separator belongs to text_split = 'regex', and is needed there")
        if self.text_separator is not None:
            try:
                empty = regex.compile(self.text_separator.encode()).match(b"")
            except regex.error as error:
                raise ValueError(f"text_separator is not a regular expression: {error}") from error
            if empty:
                raise ValueError("text_separator matches nothing at all: it would part every character")
        return self


def read_plain(stream: Iterable[Piece], settings: PlainSettings) -> Iterator[Batch]:
    """Batches of a text stream, parted by ``settings.text_split``; positions number the documents of the file.

    A part that is not valid UTF-8 or is longer than allowed is a failure and costs no other; blank parts are nothing.

    Raises:
        DataError: the separator's expression takes too long; says where, and what to do.
    """
    rows = RowBuilder(settings)
    match settings.text_split:
        case "lines":
            parts = _lines(stream, settings)
        case "paragraphs":
            parts = _paragraphs(stream, settings)
        case "regex":
            parts = _separated(stream, regex.compile((settings.text_separator or "").encode()), settings)
        case _:
            parts = _whole(stream, settings)
    position = 0
    for offset, raw, problem in parts:
        if not problem:
            raw = raw.removeprefix(codecs.BOM_UTF8) if offset == 0 else raw
            try:
                text = raw.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                problem = f"not valid UTF-8 at byte {error.start} of the document"
            else:
                if not text:
                    continue
                zeros = text.count("\0") * LEGIBLE > len(text)
                problem = "zero bytes: binary, or UTF-16 without its mark" if zeros else rows.text(position, text)
        if problem:
            rows.fail(position, offset, raw, problem)
        position += 1
        if rows.full:
            yield rows.take()
    yield from rows.drain()


Part = tuple[int, bytes, str]
"""Offset of the first byte, the bytes, and why they are no document (empty where they may be one)."""


def _lines(stream: Iterable[Piece], settings: FileSettings) -> Iterator[Part]:
    for block in blocks(stream, settings.max_document_bytes):
        if isinstance(block, Gap):
            yield block.offset, block.excerpt.encode(), block.reason
            continue
        offset = block.offset
        for line in block.lines:
            yield offset, line, ""
            offset += len(line) + 1


def _paragraphs(stream: Iterable[Piece], settings: FileSettings) -> Iterator[Part]:
    """Runs of lines that are not blank."""
    start, held, size = 0, list[bytes](), 0
    for block in blocks(stream, settings.max_document_bytes):
        if isinstance(block, Gap):
            if held and block.restart:
                # The break may fall inside this paragraph, but its lines so far are whole.
                yield start, b"\n".join(held), ""
                held, size = [], 0
            yield block.offset, block.excerpt.encode(), block.reason
            continue
        offset = block.offset
        for line in block.lines:
            if not line or line.isspace():
                if held:
                    yield start, b"\n".join(held), "" if size <= settings.max_document_bytes else _long(settings)
                held, size = [], 0
            else:
                if not held:
                    start = offset
                if size <= settings.max_document_bytes:
                    held.append(line)
                size += len(line) + 1
            offset += len(line) + 1
    if held:
        yield start, b"\n".join(held), "" if size <= settings.max_document_bytes else _long(settings)


def _whole(stream: Iterable[Piece], settings: FileSettings) -> Iterator[Part]:
    """The whole file as one document."""
    held, size, problem = list[bytes](), 0, ""
    for piece in stream:
        if isinstance(piece, Damage):
            # A part of a work would pass for the whole: the document goes to quarantine with what is left of it.
            problem = problem or f"the file breaks off here: {piece.reason}"
        else:
            if size <= settings.max_document_bytes:
                held.append(piece)
            size += len(piece)
    if size > settings.max_document_bytes:
        problem = problem or _long(settings)
    yield 0, b"".join(held), problem


def _separated(stream: Iterable[Piece], separator: regex.Pattern[bytes], settings: FileSettings) -> Iterator[Part]:
    """What lies between matches of a regular expression."""
    held, offset, begun, dropped, scanned = b"", 0, 0, False, 0
    # ``offset`` is that of held[0]; ``begun`` that of the part's first byte, which is earlier where bytes were dropped.
    for piece in chain(stream, (None,)):
        more = isinstance(piece, bytes)
        held += piece if isinstance(piece, bytes) else b""
        done = 0
        for start, end in _matches(separator, held, scanned if more else 0, offset):
            if more and end > len(held) - SEPARATOR_REACH:
                break
            if end > start:
                yield begun, held[done:start], _long(settings) if dropped else ""
                done, dropped = end, False
                begun = offset + done
        if not more:
            if done < len(held) or dropped:
                yield begun, held[done:], _long(settings) if dropped else ""
            offset += len(held)
            if isinstance(piece, Damage):
                yield offset, b"", f"the file breaks off here: {piece.reason}"
            held, begun, dropped, scanned = b"", offset, False, 0
            continue
        held, offset = held[done:], offset + done
        if len(held) > settings.max_document_bytes + SEPARATOR_REACH:
            # Only the end can still hold the start of a separator.
            keep = len(held) - SEPARATOR_REACH
            held, offset, dropped = held[keep:], offset + keep, True
        scanned = max(0, len(held) - SEPARATOR_REACH)


def _matches(separator: regex.Pattern[bytes], held: bytes, scanned: int, offset: int) -> list[tuple[int, int]]:
    """Start and end of every match from ``scanned`` on."""
    try:
        found = separator.finditer(held, scanned, timeout=MATCH_SECONDS + (len(held) - scanned) / 1e6)
        return [match.span() for match in found]
    except TimeoutError:
        raise DataError(
            f"text_separator takes more than {MATCH_SECONDS:g} s for the {len(held) - scanned} bytes from byte "
            f"{offset + scanned} on; write {separator.pattern.decode()!r} without repetitions inside repetitions, and "
            "give each a most, such as {1,80}"
        ) from None


def _long(settings: FileSettings) -> str:
    return f"a document of more than max_document_bytes = {settings.max_document_bytes} bytes"


def _refusal(settings: PlainSettings) -> str:
    return "" if settings.text_split else "text_split does not say how text becomes documents"


READERS = (FileReader((".txt",), read_plain, settings=PlainSettings, refusal=_refusal),)
