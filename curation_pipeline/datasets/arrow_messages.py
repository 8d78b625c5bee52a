"""What an Arrow message says of itself, looked at before its buffers are unpacked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

FILE_MAGIC = b"ARROW1"
BLOCK = "<qi12x"
"""Place and length of a message's description, as a footer lists them."""

DICTIONARY, RECORD_BATCH = 2, 3


@dataclass(frozen=True, slots=True)
class Contents:
    """What a message holds.

    Attributes:
        rows: of its record batch or dictionary.
        unpacked: bytes of its buffers once they are unpacked.
    """

    rows: int
    unpacked: int


class _FlatTable:
    """A table of a FlatBuffer: fields are found by their number."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.at = data, at
        self._fields = at - self._read("<i", at)

    def _read(self, kind: str, at: int) -> int:
        if at < 0:
            raise ValueError("a place before the beginning")
        return int(struct.unpack_from(kind, self.data, at)[0])

    def place(self, field: int) -> int | None:
        """Where a field lies, or None where it has its default."""
        entry = 4 + 2 * field
        offset = self._read("<H", self._fields + entry) if entry < self._read("<H", self._fields) else 0
        return self.at + offset if offset else None

    def number(self, field: int, kind: str = "<q") -> int:
        """A number; 0 is the default of all."""
        at = self.place(field)
        return 0 if at is None else self._read(kind, at)

    def table(self, field: int) -> _FlatTable | None:
        at = self.place(field)
        return None if at is None else _FlatTable(self.data, at + self._read("<I", at))

    def structs(self, field: int, size: int) -> memoryview:
        """The bytes of a vector of structures."""
        at = self.place(field)
        if at is None:
            return self.data[:0]
        start = at + self._read("<I", at)
        count = self._read("<I", start)
        found = self.data[start + 4 : start + 4 + count * size]
        if len(found) != count * size:
            raise ValueError("a vector that ends behind its message")
        return found


def contents(description: memoryview, body: memoryview) -> Contents:
    """The size of a record batch or a dictionary.

    Raises:
        ValueError: it is damaged.
    """
    try:
        message = _root(description)
        kind, batch = message.number(1, "<B"), message.table(2)
        if batch is not None and kind == DICTIONARY:
            batch = batch.table(1)
        if batch is None or kind not in (DICTIONARY, RECORD_BATCH):  # a schema holds nothing
            return Contents(0, 0)
        buffers = np.frombuffer(batch.structs(2, 16), dtype="<i8").reshape(-1, 2)
        packed = batch.place(3) is not None
        unpacked = 0
        for offset, length in buffers[buffers[:, 1] > 0].tolist():
            # A packed buffer begins with its length unpacked; -1 says that this one is stored as it is.
            claimed = struct.unpack_from("<q", body, offset)[0] if packed else -1
            unpacked += length if claimed == -1 else claimed
            if claimed < -1:
                raise ValueError("a buffer of less than no bytes")
        rows = batch.number(0)
    except struct.error as error:
        raise ValueError(f"a damaged description: {error}") from error
    if rows < 0:
        raise ValueError("a batch of less than no rows")
    return Contents(rows, unpacked)


def _root(description: memoryview) -> _FlatTable:
    return _FlatTable(description, struct.unpack_from("<I", description)[0])


@dataclass(frozen=True, slots=True)
class ArrowFooter:
    """The table of contents at the end of an Arrow file.

    Attributes:
        start: where it begins.
        batches: place and length of the description of every record batch; None where it is damaged.
        first: place of the first message that it lists.
    """

    start: int
    batches: tuple[tuple[int, int], ...] | None
    first: int = 0


def read_footer(file: BinaryIO) -> ArrowFooter | None:
    """The footer of an Arrow file, or None where the file does not end with one."""
    end = file.seek(0, 2)
    file.seek(max(0, end - 10))
    tail = file.read(10)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != FILE_MAGIC or not 0 < length <= end - 18:
        return None
    start = end - 10 - length
    file.seek(start)
    try:
        table = _root(memoryview(file.read(length)))
        lists = [list(struct.iter_unpack(BLOCK, table.structs(field, struct.calcsize(BLOCK)))) for field in (2, 3)]
    except (struct.error, ValueError):
        return ArrowFooter(start, None)
    return ArrowFooter(start, tuple(lists[1]), min((place for place, _ in lists[0] + lists[1]), default=start))


def declared_rows(file: BinaryIO, footer: ArrowFooter) -> int | None:
    """Rows of the record batches that a footer lists; None where it or one of them cannot be read."""
    try:
        return None if footer.batches is None else sum(_rows(file, *batch) for batch in footer.batches)
    except (struct.error, ValueError, OverflowError):
        return None


def _rows(file: BinaryIO, offset: int, length: int) -> int:
    file.seek(offset)
    description = memoryview(file.read(length))
    message = _root(description[8 if bytes(description[:4]) == b"\xff\xff\xff\xff" else 4 :])
    batch = message.table(2)
    if batch is None or message.number(1, "<B") != RECORD_BATCH:
        raise ValueError("the footer lists what is no record batch")
    return batch.number(0)
