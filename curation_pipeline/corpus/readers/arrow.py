"""Arrow IPC files and streams, message by message: what ``datasets`` writes with ``save_to_disk``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from curation_pipeline.corpus.columnar import add_table, damage, least_bytes, readable_columns
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.corpus.streams import CHUNK_BYTES
from curation_pipeline.datasets.arrow_messages import FILE_MAGIC, ArrowFooter, contents, declared_rows, read_footer
from curation_pipeline.datasets.bounds import BombError, Meter

if TYPE_CHECKING:
    import pyarrow as pa

CONTINUATION = b"\xff\xff\xff\xff"
"""What every message begins with, before the length of its description; files from before 2019 lack it."""

MAX_DESCRIPTION_BYTES = 1 << 24

PADDING = 64
"""Fewer bytes than these hold no record batch."""


def read_arrow(file: BinaryIO, settings: FileSettings, meter: Meter) -> Iterator[Batch]:
    """Batches of an Arrow file or stream; a record batch that cannot be read is one failure and costs no other.

    A file is a stream between two magic words with a table of contents at its end; the table is not needed, so that
    damage to it costs nothing, but its count of the rows is compared with those that were met. Every byte that is no
    message has a failure.
    """
    import pyarrow as pa

    rows = RowBuilder(settings)
    stream = pa.PythonFile(file, mode="r")
    begin = len(FILE_MAGIC) + 2
    named = bytes(stream.read(begin)) == FILE_MAGIC + b"\0\0"
    footer = read_footer(file)
    try:
        first, place, legacy = _schema(stream, (begin,) if named else (0, begin), footer)
        messages = _Messages(stream, first, legacy, rows, meter)
    except damage() as error:
        rows.fail(0, 0, "", f"not a readable Arrow file: {error}", rows=None)
        yield from rows.drain()
        return
    yield from messages.read(place, stream.size() if footer is None else footer.start)
    listed = None if footer is None else footer.batches
    reason = ""
    if footer is None and not messages.ended:
        reason = f"the {'file' if named else 'stream'} ends without the mark of its end: rows may be missing"
    elif listed is not None and len(listed) != messages.batches:
        reason = f"the file's footer lists {len(listed)} record batches, {messages.batches} were met"
    if reason and not rows.uncertain:
        rows.fail(rows.met, stream.size(), "", reason, rows=None)
    yield from rows.drain(None if footer is None else declared_rows(file, footer))


def _schema(stream: pa.NativeFile, places: tuple[int, ...], footer: ArrowFooter | None) -> tuple[pa.Buffer, int, bool]:
    """The message of the schema, the place behind it, and whether messages begin without ``CONTINUATION``."""
    import pyarrow as pa

    for place in places:  # Where the first magic word is damaged, the stream still lies behind it.
        stream.seek(place)
        try:
            message = pa.ipc.read_message(stream)
            pa.ipc.read_schema(message)
        except damage():
            if place == places[-1] and (footer is None or footer.batches is None):
                raise
        else:
            behind = stream.tell()
            stream.seek(place)
            return message.serialize(), behind, stream.read(4) != CONTINUATION
    # Some writers put no message where the schema belongs, or it is damaged; the footer repeats it.
    assert footer is not None
    return pa.ipc.open_file(stream).schema.serialize(), footer.first, False


class _Messages:
    """The messages behind the schema of a stream."""

    def __init__(self, stream: pa.NativeFile, first: pa.Buffer, legacy: bool, rows: RowBuilder, meter: Meter) -> None:
        import pyarrow as pa

        self.stream, self.schema, self.rows = stream, pa.ipc.read_schema(first), rows
        self.wanted = readable_columns(self.schema, rows)
        self.meters = meter, meter.fresh()
        self.batches, self.ended = 0, False
        self.legacy = legacy
        # Where columns are coded by dictionaries, a batch may need any message before it.
        self.coded = any(_has_codes(field.type) for field in self.schema)
        self.feed = _MessageFeed()
        self.feed.put(first)
        self.decoder: Any = None

    def read(self, place: int, end: int) -> Iterator[Batch]:
        """The batches from ``place`` to ``end``."""
        position = 0
        while place < end:
            head, before, known = self._head(place), self.rows.met, None
            following, problem, skippable = place, "", False
            if head[:4] == bytes(4) if self.legacy else head == CONTINUATION + bytes(4):
                if end - place <= 8 + PADDING:
                    self.ended = True
                    return
                problem = "a mark of the end that is not the end"
            else:
                try:
                    message, following = self._message(place, end)
                    found = contents(memoryview(message.metadata), memoryview(message.body))
                    if message.type == "record batch":
                        known = found.rows
                        self.batches += 1
                    self._charge(message.metadata.size + message.body.size, found.unpacked, found.rows)
                    yield from self._add(message, position)
                except BombError as error:
                    problem, skippable = str(error), known is not None
                except damage() as error:
                    problem, skippable = str(error), self.legacy and following > place
            lost = None if known is None else known - (self.rows.met - before)
            sound = self.legacy or end - following <= PADDING or self._head(following)[:4] == CONTINUATION
            if problem:
                resume = following if skippable and sound else self._next_batch(place + 8, end)
                what = f"{resume - place} bytes" if lost is None else f"{lost} rows in {resume - place} bytes"
                reason = f"{what} from byte {place} on are skipped, {self._where()}: {problem}"
                self.rows.fail(position, place, head, reason, rows=lost)
            elif not sound:
                # Its length may be what is wrong: what follows is looked for from its beginning.
                resume = self._next_batch(place + 8, end)
                if resume > following:
                    skipped = f"{resume - following} bytes from byte {following} on are skipped, {self._where()}"
                    reason = f"{skipped}: they are no message"
                    self.rows.fail(position + (known or 0), following, self._head(following), reason, rows=None)
            else:
                resume = following
            position += int(problem != "") if known is None else known
            place = resume

    def _where(self) -> str:
        return f"behind {self.batches} record batches"

    def _head(self, place: int) -> bytes:
        self.stream.seek(place)
        return bytes(self.stream.read(8))

    def _message(self, place: int, end: int) -> tuple[pa.Message, int]:
        """The message at a place, and the place behind it."""
        import pyarrow as pa

        head = self._head(place)
        length = int.from_bytes(head[:4] if self.legacy else head[4:], "little")
        if not (self.legacy or head[:4] == CONTINUATION) or length > min(MAX_DESCRIPTION_BYTES, end - place):
            raise ValueError("no message begins here")
        self.stream.seek(place)
        return pa.ipc.read_message(self.stream), self.stream.tell()

    def _charge(self, stored: int, unpacked: int, count: int) -> None:
        """Refuses a message that unpacks to too much, before it does."""
        buffers, values = self.meters
        buffers.take(stored)
        values.taken = buffers.taken
        buffers.spend(unpacked)
        values.allow(least_bytes(count, len(self.wanted)))

    def _add(self, message: pa.Message, position: int) -> Iterator[Batch]:
        import pyarrow as pa

        if self.coded and message.type in ("dictionary", "record batch"):
            self.feed.put(message.serialize())
        elif message.type != "record batch":
            raise ValueError(f"a message of type {message.type!r} where a record batch is expected")
        if message.type == "record batch":
            if self.coded:
                self.decoder = self.decoder or pa.ipc.open_stream(pa.PythonFile(self.feed, mode="r"))
                batch = self.decoder.read_next_batch()
            else:
                batch = pa.ipc.read_record_batch(message, self.schema)
            yield from add_table(batch, position, self.rows, self.wanted, self.meters[1])

    def _next_batch(self, place: int, end: int) -> int:
        """The first place from ``place`` on where the description of a record batch can be read, or the end."""
        import pyarrow as pa

        if self.coded or self.legacy:  # Nothing says whether what follows depends on what was lost, or where it begins.
            return end
        window, start = b"", int(place)
        self.stream.seek(place)
        while start < end and (data := bytes(self.stream.read(CHUNK_BYTES))):
            window += data
            at = window.find(CONTINUATION)
            while 0 <= at <= len(window) - 8:
                length = int.from_bytes(window[at + 4 : at + 8], "little")
                if 0 < length < MAX_DESCRIPTION_BYTES:
                    try:
                        self.stream.seek(start + at)
                        if pa.ipc.read_message(self.stream).type == "record batch":
                            return min(start + at, end)
                    except damage():
                        pass  # Four bytes of ones in the data, or another damaged message.
                at = window.find(CONTINUATION, at + 1)
            self.stream.seek(start + len(window))
            keep = min(7, len(window))
            start += len(window) - keep
            window = window[-keep:]
        return end


def _has_codes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_dictionary(kind) or any(_has_codes(kind.field(i).type) for i in range(kind.num_fields)))


class _MessageFeed(io.RawIOBase):
    """Messages that were looked at, as the stream that a decoder with dictionaries needs."""

    def __init__(self) -> None:
        self._held = b""

    def put(self, message: Any) -> None:
        self._held += bytes(message)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken, self._held = self._held[:size], self._held[size:]
        return taken


READERS = (FileReader((".arrow",), read_arrow, takes="file"),)
