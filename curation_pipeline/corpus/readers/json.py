"""JSON Lines, and JSON files of any layout: an array of objects, or objects one after the other."""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from curation_pipeline.corpus.lines import Block, Gap, blocks
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder, excerpt
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.corpus.streams import Damage, Piece

LARGE = 2.0**63
"""orjson reads whole numbers beyond 64 bits as floating point: from here on ``json`` must look."""


MAX_VALUES = 2_000_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

UNKNOWN = 1 << 62
"""How many brackets are open behind damage: more than can be closed."""

BLANK = b" \t\r\n"
KEPT_BYTES = 4 * 1024
"""Of a value too long to hold, what is kept to find the beginning of another in."""

_MARK = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'(?:[^"\\\n]++|\\.)*+', re.DOTALL)
"""The rest of a string, up to its quotation mark or as far as it is at hand. No string holds a line feed: one that
seems to has lost its quotation mark, and ends with its line."""


def read_jsonl(stream: Iterable[Piece], settings: FileSettings) -> Iterator[Batch]:
    """Batches of a JSONL stream; blank lines are skipped, ``NaN`` and lone surrogates outside the text are accepted."""
    rows = RowBuilder(settings)
    for block in blocks(stream, settings.max_document_bytes):
        if isinstance(block, Gap):
            rows.fail(block.position, block.offset, block.excerpt, block.reason)
        else:
            _read_block(block, rows)
        if rows.full:
            yield rows.take()
    yield from rows.drain()


def _read_block(block: Block, rows: RowBuilder) -> None:
    loads, add = orjson.loads, rows.record
    shown = [name for name in (rows.settings.url_column, rows.settings.created_at_column) if name]
    for index, line in enumerate(block.lines):
        if len(line) > MAX_VALUES and (count := _values(line)) > MAX_VALUES:
            problem = f"a record of {count} values; more than {MAX_VALUES} are not taken apart"
            rows.fail(block.position + index, block.offset_of(index), line, problem)
            continue
        try:
            record = loads(line)
        except ValueError:
            record = None
        if type(record) is not dict or _imprecise(record, shown):
            _read_line(line, block, index, rows)
        elif problem := add(block.position + index, record):
            rows.fail(block.position + index, block.offset_of(index), line, problem)


def _values(line: bytes) -> int:
    """About how many values a line holds; those of a short text that is all brackets take a gigabyte of memory."""
    count = sum(map(line.count, b"[{,"))
    return count if count <= MAX_VALUES else sum(map(_STRING.sub(b"", line).count, b"[{,"))


def _imprecise(record: dict[str, Any], shown: list[str]) -> bool:
    """Whether orjson may have changed a number that is kept: a field's own, or one inside a field that becomes text."""
    for value in record.values():
        if type(value) is float and not -LARGE < value < LARGE:
            return True
    todo = [record[name] for name in shown if type(record.get(name)) in (list, dict)]
    while todo:
        value = todo.pop()
        if isinstance(value, float) and not -LARGE < value < LARGE:
            return True
        todo += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return False


def _read_line(line: bytes, block: Block, index: int, rows: RowBuilder) -> None:
    position = block.position + index
    line = (line.removeprefix(codecs.BOM_UTF8) if position == 0 else line).strip()
    if not line:
        return
    record, problem = parse_object(line)
    if problem := problem or rows.record(position, record):
        rows.fail(position, block.offset_of(index), line, problem)


def parse_object(raw: bytes) -> tuple[dict[str, Any], str]:
    """An object by the standard library, which accepts more than orjson and says what is wrong with the rest.

    Returns:
        The object, and why there is none; empty where there is one.
    """
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return {}, f"not valid UTF-8 at byte {error.start} of the value"
    except (ValueError, RecursionError) as error:
        return {}, f"not valid JSON: {excerpt(str(error))}"
    return (record, "") if isinstance(record, dict) else ({}, f"a JSON {type(record).__name__}, not an object")


def read_json(stream: Iterable[Piece], settings: FileSettings) -> Iterator[Batch]:
    """Batches of a JSON file; positions number its values.

    What holds an object a line is read by :func:`read_jsonl`. Of other layouts a value that is not valid costs itself
    where its brackets, or the next line that begins as the first value's line does, say where it ends. Where neither
    does, what follows is one failure: what may be a part of a value is never taken for a document.
    """
    head, whole = _peeked(stream, settings.max_document_bytes)
    if _is_lines(head):
        yield from read_jsonl(whole, settings)
        return
    rows = RowBuilder(settings)
    values = _Values(rows)
    for piece in whole:
        if isinstance(piece, Damage):
            values.break_off(f"the file breaks off here: {piece.reason}")
        else:
            values.feed(piece)
        if rows.full:
            yield rows.take()
    values.end()
    yield from rows.drain()


def _peeked(stream: Iterable[Piece], most: int) -> tuple[bytes, Iterator[Piece]]:
    """What a stream begins with, up to the start of its second line, and all of the stream."""
    pieces = iter(stream)
    head, seen = b"", list[Piece]()
    for piece in pieces:
        seen.append(piece)
        if isinstance(piece, Damage):
            break
        head = (head + piece).removeprefix(codecs.BOM_UTF8).lstrip()
        if len(head) > most or (len(head) > 2 and head[:1] != b"{") or head.partition(b"\n")[2].lstrip():
            break
    return head, itertools.chain(seen, pieces)


def _is_lines(head: bytes) -> bool:
    first, _, rest = head.partition(b"\n")
    if first[:1] != b"{":
        return first[:1] != b"["
    return rest.lstrip()[:1] == b"{" or not parse_object(first)[1]


class _Values:
    """Finds where values begin and end, in memory bounded by the longest value allowed."""

    def __init__(self, rows: RowBuilder) -> None:
        self._rows, self._most = rows, rows.settings.max_document_bytes
        self._held = bytearray()
        self._offset = 0  # of held[0] in the stream
        self._at = 0  # how far what is held has been looked at
        self._last = 0  # the end of the last value
        self._begun = 0  # the start of the value in the making
        self._depth = 0  # how many of its brackets are open; none where no value is in the making
        self._quoted = self._in_array = False
        self._skipped: int | None = None  # offset of what is left unread, where a failure has told why
        self._line: bytes | None = None  # how a line begins with which a value begins
        self._position = 0

    def feed(self, piece: bytes) -> None:
        """Look at more bytes."""
        self._held += piece
        self._scan()
        problem = f"a value of more than max_document_bytes = {self._most} bytes"
        while self._depth and (self._skipped is not None or self._long()) and self._leave(problem):
            self._scan()
        if self._skipped is None and self._long():
            self._skipped = self._offset + (self._begun if self._depth else self._last)
            self._fail(self._begun if self._depth else self._last, problem)
        start = self._begun if self._depth else self._last
        if self._skipped is not None:
            start = self._begun = self._last = max(start, self._at - KEPT_BYTES)
            if not self._depth:
                self._skipped = None
        del self._held[:start]
        self._offset += start
        self._at, self._last, self._begun = self._at - start, max(0, self._last - start), max(0, self._begun - start)

    def _long(self) -> bool:
        return self._at - (self._begun if self._depth else self._last) > self._most

    def break_off(self, reason: str) -> None:
        """Bytes are missing here: nothing but the beginning of a line tells where a value begins."""
        self._finish(reason)
        self._skipped, self._depth, self._quoted = self._offset, UNKNOWN, False

    def end(self) -> None:
        """The file ends here."""
        self._finish("the file ends inside this value")
        if self._in_array and not self._depth:
            self._fail(0, "the file ends inside the array")

    def _finish(self, reason: str) -> None:
        while self._depth and self._leave(reason):
            self._scan()
        if not self._depth and not self._pass(len(self._held)):
            self._fail(self._last, reason)
        elif self._depth and self._skipped is None:
            self._fail(self._begun, reason)
        elif self._skipped is not None:
            self._tell(len(self._held))
        self._offset += len(self._held)
        self._held.clear()
        self._at = self._last = self._begun = 0

    def _scan(self) -> None:
        while True:
            if self._quoted:
                found = _INSIDE.match(self._held, self._at)
                self._at = found.end() if found else self._at
                if bytes(self._held[self._at : self._at + 1]) not in (b'"', b"\n"):
                    return  # Its end is not at hand.
                self._at, self._quoted = self._at + 1, False
            mark = _MARK.search(self._held, self._at)
            if mark is None:
                self._at = len(self._held)
                return
            self._at = mark.end()
            self._take(mark[0], mark.start())

    def _take(self, mark: bytes, at: int) -> None:
        if mark == b'"':
            self._quoted = True
        elif mark in b"{[" and self._depth:
            self._depth += 1
        elif mark == b"[" and not self._in_array and self._pass(at):
            self._in_array, self._last = True, at + 1
        elif mark in b"{[":
            self._begun, self._depth = at, 1
            if self._line is None and (feed := self._held.rfind(b"\n", 0, at)) >= 0:
                self._line = bytes(self._held[feed:at])
        elif self._depth:
            self._depth -= 1
            if not self._depth:
                self._close()
        elif mark == b"]" and self._in_array and self._pass(at):
            self._in_array, self._last = False, at + 1

    def _close(self) -> None:
        """A value ends at ``_at``, by its brackets."""
        if self._skipped is not None:
            self._tell(self._at)
        elif not (self._pass(self._begun) or self._begins_by_line()):
            # What is left of one value may hold this one: it is no document.
            self._begun, problem = self._last, "what is before this value is no JSON"
            if self._leave(problem):
                return
            self._fail(self._begun, problem)
        else:
            raw = bytes(self._held[self._begun : self._at])
            record, problem = parse_object(raw)
            if problem and self._leave(problem):
                return
            if self._line and not problem and self._line + b"{" in raw:
                self._line = b""  # Inner objects begin their lines in the same way: no line tells anything.
            if problem := problem or self._rows.record(self._position, record):
                self._fail(self._begun, problem)
            else:
                self._position += 1
        self._last = self._at

    def _begins_by_line(self) -> bool:
        """Whether the value in the making begins by its line; what is before it is a failure then."""
        feed = self._begun - len(self._line or b"")
        if not self._line or self._held[feed : self._begun] != self._line or not self._tells(feed):
            return False
        self._fail(self._last, "no JSON value")
        return True

    def _leave(self, problem: str) -> bool:
        """Leave the value in the making for one that begins at a line in it; whether there is such a line."""
        if not self._line:
            return False
        found = self._held.find(self._line + b"{", self._begun)
        while found >= 0 and not self._tells(found):
            found = self._held.find(self._line + b"{", found + 1)
        if found < 0:
            return False
        place = found + len(self._line)
        if self._skipped is not None:
            self._tell(place)
        else:
            self._fail(self._begun, problem)
        self._at = self._last = place
        self._depth, self._quoted = 0, False
        return True

    def _tells(self, feed: int) -> bool:
        """Whether the line behind a line feed follows the end of a value.

        At the margin, where lines of inner objects may begin, too, it has to be a whole object as well.
        """
        if self._line is None or self._line.strip(BLANK):
            return False  # Values do not begin lines here.
        if not bytes(self._held[max(0, feed - 64) : feed]).rstrip(BLANK).endswith((b",", b"}")):
            return False
        end = self._held.find(b"\n", feed + 1)
        line = bytes(self._held[feed + 1 : end if end >= 0 else len(self._held)])
        return self._line != b"\n" or not parse_object(line.rstrip(BLANK + b",]"))[1]

    def _tell(self, end: int) -> None:
        """What was skipped ends here."""
        assert self._skipped is not None
        if behind_damage := self._depth > UNKNOWN // 2:
            size = self._offset + end - self._skipped
            reason = f"{size} bytes behind damage, where no beginning of a value is certain"
            self._rows.fail(self._position, self._skipped, b"", reason)
        self._position += behind_damage
        self._skipped = None

    def _pass(self, end: int) -> bool:
        """Whether nothing but a comma, or values that are no objects, is between the last value and ``end``."""
        between = bytes(self._held[self._last : end]).removeprefix(codecs.BOM_UTF8).strip(BLANK + b",")
        if not between:
            return True
        try:
            values = json.loads(b"[" + between + b"]")
        except (ValueError, RecursionError):
            return False
        for value in values:
            self._fail(self._last, f"a JSON {type(value).__name__}, not an object", json.dumps(value))
        self._last = end
        return True

    def _fail(self, start: int, reason: str, raw: str = "") -> None:
        self._rows.fail(self._position, self._offset + start, raw or bytes(self._held[start : start + 1_000]), reason)
        self._position += 1


READERS = (FileReader((".jsonl", ".ndjson", ".jl"), read_jsonl, by_lines=True), FileReader((".json",), read_json))
