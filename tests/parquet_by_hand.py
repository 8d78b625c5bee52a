"""Parquet files written byte by byte, because no library writes those that lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

PLAIN, DELTA_LENGTHS, DELTA_PREFIXES, CODES = 0, 6, 7, 8
INT64, BYTE_ARRAY = 2, 6
I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> bytes:
    return varint((number << 1) ^ (number >> 63) if number >= 0 else ((-number) << 1) - 1)


class Struct:
    """A structure of Thrift's compact protocol, built field by field in the order of their numbers."""

    def __init__(self) -> None:
        self._raw, self._last = b"", 0

    def add(self, number: int, kind: int, raw: bytes) -> Struct:
        self._raw += bytes([(number - self._last) << 4 | kind]) + raw
        self._last = number
        return self

    def i32(self, *fields: tuple[int, int]) -> Struct:
        for number, value in fields:
            self.add(number, I32, zigzag(value))
        return self

    def i64(self, number: int, value: int) -> Struct:
        return self.add(number, I64, zigzag(value))

    def texts(self, number: int, value: bytes) -> Struct:
        return self.add(number, BINARY, varint(len(value)) + value)

    def many(self, number: int, kind: int, values: list[bytes]) -> Struct:
        return self.add(number, LIST, bytes([0xF0 | kind]) + varint(len(values)) + b"".join(values))

    def end(self) -> bytes:
        return self._raw + b"\0"


def page(body: bytes, values: int, encoding: int = PLAIN, dictionary: bool = False) -> bytes:
    """A page packed with Zstandard, behind its header."""
    packed = pa.Codec("zstd").compress(body, asbytes=True)
    header = Struct().i32((1, 2 if dictionary else 0), (2, len(body)), (3, len(packed)))
    if dictionary:
        header.add(7, STRUCT, Struct().i32((1, values), (2, PLAIN)).end())
    else:
        header.add(5, STRUCT, Struct().i32((1, values), (2, encoding), (3, 3), (4, 3)).end())
    return header.end() + packed


def plain(*values: bytes) -> bytes:
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def same_code(rows: int) -> bytes:
    """A page of so many rows that are all the first entry of the dictionary."""
    return page(bytes([1]) + varint(rows << 1) + b"\0", rows, CODES)


def deltas(first: int, then: int, count: int) -> bytes:
    """``first``, and after it ``then`` again and again, as DELTA_BINARY_PACKED."""
    out = varint(128) + varint(4) + varint(count) + zigzag(first)
    step, width = then - first, abs(then - first).bit_length()
    steps = [max(step, 0)] + [max(-step, 0)] * 127
    for block in range(0, count - 1, 128):
        if block or not step:
            out += zigzag(0) + bytes(4)
            continue
        bits = sum(value << (index * width) for index, value in enumerate(steps))
        out += zigzag(min(step, 0)) + bytes([width] * 4) + bits.to_bytes(16 * width, "little")
    return out


@dataclass(frozen=True)
class Column:
    """The pages of one column; a dictionary comes first."""

    pages: list[bytes]
    name: bytes = b"text"
    kind: int = BYTE_ARRAY
    coded: bool = field(default=True)


def parquet(columns: list[Column], rows: int, groups: int = 1, declared: int | None = None) -> bytes:
    """A file of row groups that are all the same bytes.

    Args:
        columns: required ones.
        rows: of a row group, as the footer states them.
        groups: how many row groups the footer lists.
        declared: rows of the file as the footer states them; those of the row groups where it is absent.
    """
    raw = b"PAR1"
    chunks = []
    for column in columns:
        start = len(raw)
        raw += b"".join(column.pages)
        about = Struct().i32((1, column.kind)).many(2, I32, [zigzag(PLAIN)])
        about.many(3, BINARY, [varint(len(column.name)) + column.name]).i32((4, 6))
        # The size unpacked is a lie in every file.
        about.i64(5, rows).i64(6, 100).i64(7, len(raw) - start)
        about.i64(9, start + (len(column.pages[0]) if column.coded else 0))
        if column.coded:
            about.i64(11, start)
        chunks.append(Struct().i64(2, start).add(3, STRUCT, about.end()).end())
    group = Struct().many(1, STRUCT, chunks).i64(2, 100).i64(3, rows).end()
    schema = [Struct().texts(4, b"schema").i32((5, len(columns))).end()]
    for column in columns:
        leaf = Struct().i32((1, column.kind), (3, 0)).texts(4, column.name)
        schema.append((leaf.i32((6, 0)) if column.kind == BYTE_ARRAY else leaf).end())
    total = rows * groups if declared is None else declared
    footer = Struct().i32((1, 1)).many(2, STRUCT, schema).i64(3, total).many(4, STRUCT, [group] * groups).end()
    return raw + footer + len(footer).to_bytes(4, "little") + b"PAR1"
