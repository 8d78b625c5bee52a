"""Arrow IPC files and streams, message by message: what ``datasets`` writes with ``save_to_disk``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from curation_pipeline.corpus.columnar import MAX_WINDOW_ROWS, add_table, damage
from curation_pipeline.corpus.rows import Batch, ReadOptions, RowBuilder
from curation_pipeline.corpus.streams import CHUNK_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

FILE_MAGIC = b"ARROW1\0\0"
CONTINUATION = b"\xff\xff\xff\xff"
"""What every message begins with, before the length of its description."""

MAX_DESCRIPTION_BYTES = 1 << 24


def read_arrow(file: BinaryIO, options: ReadOptions) -> Iterator[Batch]:
    """Batches of an Arrow file or stream; a record batch that cannot be read is one failure and costs no other.

    A file is a stream between two magic words with a table of contents at its end; the table is not needed, so that
    damage to it costs nothing.
    """
    import pyarrow as pa

    rows = RowBuilder(options)
    stream = pa.PythonFile(file, mode="r")
    places = (len(FILE_MAGIC),) if stream.read(len(FILE_MAGIC)) == FILE_MAGIC else (0, len(FILE_MAGIC))
    schema, problem = None, ""
    for begin in places:  # Where the first magic word is damaged, the stream still lies behind it.
        schema, problem = _schema(stream, begin)
        if schema is not None:
            yield from _read_coded(stream, begin, rows) if _has_codes(schema) else _read_messages(stream, schema, rows)
            break
    if schema is None:
        rows.fail(0, 0, "", problem)
    yield from rows.drain()


def _schema(stream: pa.NativeFile, begin: int) -> tuple[pa.Schema | None, str]:
    import pyarrow as pa

    stream.seek(begin)
    try:
        return pa.ipc.read_schema(pa.ipc.read_message(stream)), ""
    except damage() as error:
        return None, f"not a readable Arrow file: {error}"


def _has_codes(schema: pa.Schema) -> bool:
    import pyarrow as pa

    return any(pa.types.is_dictionary(field.type) for field in schema)


def _read_messages(stream: pa.NativeFile, schema: pa.Schema, rows: RowBuilder) -> Iterator[Batch]:
    import pyarrow as pa

    position = 0
    place = stream.tell()
    while True:
        head = _head(stream, place)
        if not head or head == CONTINUATION + bytes(4):
            # The end, unless damage only looks like it: behind it there is no record batch.
            found = _next_batch(stream, place + 8)
            if found is None:
                return
            place = found
            continue
        problem = ""
        try:
            message = pa.ipc.read_message(stream)
            following = stream.tell()
            if message.type != "record batch":
                problem = f"a message of type {message.type!r} where a record batch is expected"
            else:
                batch = pa.ipc.read_record_batch(message, schema)
                yield from _add_slices(batch, position, rows)
                position += batch.num_rows
        except damage() as error:
            problem = f"a record batch cannot be read: {error}"
        if problem:
            rows.fail(position, place, head, problem)
            position += 1
        if problem or _head(stream, following)[:4] not in (b"", CONTINUATION):
            # Its length may be what is wrong: what follows is looked for from its beginning.
            found = _next_batch(stream, place + 8)
            if found is None:
                return
            place = found
        else:
            place = following


def _head(stream: pa.NativeFile, place: int) -> bytes:
    """The first eight bytes of what lies at ``place``; the stream stands there afterwards."""
    stream.seek(place)
    head = bytes(stream.read(8))
    stream.seek(place)
    return head


def _next_batch(stream: pa.NativeFile, place: int) -> int | None:
    """The first place from ``place`` on where the description of a record batch can be read, or None."""
    import pyarrow as pa

    window, start = b"", int(place)
    stream.seek(place)
    while data := bytes(stream.read(CHUNK_BYTES)):
        window += data
        at = window.find(CONTINUATION)
        while 0 <= at <= len(window) - 8:
            length = int.from_bytes(window[at + 4 : at + 8], "little")
            if 0 < length < MAX_DESCRIPTION_BYTES:
                try:
                    stream.seek(start + at)
                    if pa.ipc.read_message(stream).type == "record batch":
                        return start + at
                except damage():
                    pass  # Four bytes of ones in the data, or another damaged message.
            at = window.find(CONTINUATION, at + 1)
        stream.seek(start + len(window))
        keep = min(7, len(window))
        start += len(window) - keep
        window = window[-keep:]
    return None


def _read_coded(stream: pa.NativeFile, begin: int, rows: RowBuilder) -> Iterator[Batch]:
    """A stream with dictionaries, whose messages depend on one another: read up to the damage."""
    import pyarrow as pa

    stream.seek(begin)
    position = 0
    try:
        reader: Any = pa.ipc.open_stream(stream)
        for batch in reader:
            yield from _add_slices(batch, position, rows)
            position += batch.num_rows
    except damage() as error:
        rows.fail(position, -1, "", f"the file breaks off here: {error}")


def _add_slices(batch: pa.RecordBatch, position: int, rows: RowBuilder) -> Iterator[Batch]:
    for start in range(0, batch.num_rows, MAX_WINDOW_ROWS):
        yield from add_table(batch.slice(start, MAX_WINDOW_ROWS), position + start, rows)
