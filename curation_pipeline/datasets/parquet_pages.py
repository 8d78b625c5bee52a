"""What a Parquet file says of its pages, looked at before anything is unpacked.

pyarrow believes a page's header, so that some hundred bytes are enough to make it ask for gigabytes, and it ends the
process at some damaged descriptions of columns. Here both are read with care. They are in Thrift's compact protocol;
whatever the bytes are, the worst is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

MAGIC = b"PAR1"
MAX_HEADER_BYTES = 16 * 1024 * 1024
PADDING = 100
"""Bytes that a column of some old writers has besides those that its description counts."""

MAX_SCHEMA_DEPTH = 100
"""pyarrow's own stack gives out somewhere beyond a thousand."""

VALUE_BYTES = 16
"""About what one value takes once it is decoded, besides its text."""

BYTE_ARRAYS = (6, 7)
"""Physical types whose values have a length."""

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PLAIN = 0
BIT_PACKED = 4
CODES = {2, 8}
"""Encodings by a dictionary."""
DELTA_LENGTHS, DELTA_PREFIXES = 6, 7
CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}

STEP = 4_096
"""Numbers that are unpacked at once."""


BOOL, I32, I64, BINARY, LIST, STRUCT = 1, 5, 6, 8, 9, 12
"""Types of fields that Parquet's descriptions use."""

MAX_DEPTH = 32

Struct = dict[tuple[int, int], Any]
"""Values by number and type of their field: a field of another type than the one expected is another field."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the values of one column lie in one row group.

    Attributes:
        column: name of the column, or of the outermost one that it belongs to.
        kind: its physical type.
        codec: number of its compression.
        optional: values may be missing.
        start: place of its first page.
        size: bytes of all its pages.
    """

    column: str
    kind: int
    codec: int
    optional: bool
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group."""

    rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    """The table of contents: ``rows`` is the number that it states for the whole file."""

    rows: int
    groups: tuple[RowGroup, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What a page of values gives.

    Attributes:
        values: how many, missing ones included.
        encoding: number of its encoding.
        decoded: bytes of all values, at the most.
        longest: bytes of one value: at the most where the encoding repeats bytes, else on average.
    """

    values: int
    encoding: int
    decoded: int
    longest: int


def read_footer(stream: BinaryIO) -> ParquetFooter:
    """The table of contents at a file's end.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    end = stream.seek(0, 2)
    stream.seek(max(0, end - 8))
    tail = stream.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > end - 12:
        raise ValueError("it does not end as a Parquet file does")
    stream.seek(end - 8 - length)
    about, _ = read_struct(stream.read(length))
    leaves = list(_leaves(_structs(about.get((2, LIST)))))
    groups = []
    for group in _structs(about.get((4, LIST))):
        columns = _structs(group.get((1, LIST)))
        if len(columns) != len(leaves):
            raise ValueError(f"a row group of {len(columns)} columns where the schema has {len(leaves)}")
        chunks = tuple(_chunk(column, *leaf) for column, leaf in zip(columns, leaves, strict=True))
        groups.append(RowGroup(_number(group, 3), chunks))
    return ParquetFooter(_number(about, 3), tuple(groups))


def _structs(value: object) -> list[Struct]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("its table of contents is damaged")
    return value


def _number(about: Struct, field: int) -> int:
    value = about.get((field, I64), -1)
    if not 0 <= value < 2**62:
        raise ValueError("a number of its table of contents is missing or out of range")
    return int(value)


def _leaves(schema: Sequence[Struct]) -> Iterator[tuple[str, bool]]:
    """Name of the outermost column and whether values may be missing, of each column that holds values."""
    if not schema:
        raise ValueError("its schema is empty")
    left = [schema[0].get((5, I32), 0)]
    name = ""
    for element in schema[1:]:
        while left and left[-1] <= 0:
            left.pop()
        if not left:
            raise ValueError("its schema is damaged")
        left[-1] -= 1
        if len(left) == 1:
            name = element.get((4, BINARY), b"").decode("utf-8", "replace")
        if (children := element.get((5, I32), 0)) > 0:
            left.append(children)
            if len(left) > MAX_SCHEMA_DEPTH:
                raise ValueError(f"its schema nests deeper than {MAX_SCHEMA_DEPTH}")
        else:
            yield name, element.get((3, I32), 0) != 0


def _chunk(about: Struct, name: str, optional: bool) -> Chunk:
    column = about.get((3, STRUCT))
    if column is None:
        raise ValueError(f"column {name!r} is not described")
    start, size = _number(column, 9), _number(column, 7)
    if 0 < (first := column.get((11, I64), 0)) < start:
        start = first
    return Chunk(name, column.get((1, I32), -1), column.get((4, I32), -1), optional, start, size)


def read_pages(
    chunk: Chunk, rows: int, read: Callable[[int, int], bytes], charge: Callable[[int, int], None]
) -> tuple[list[Page], int, str]:
    """The pages of a chunk by their headers, as far as these are sound.

    Args:
        chunk: whose pages.
        rows: of its row group; a page of more values is damaged.
        read: bytes of the file from a place on, so many of them or as many as there are.
        charge: is told of each page's bytes in the file and in memory before it is looked into.

    Returns:
        The pages, the place where they end, and what is wrong with the page there, if one is.
    """
    found: list[Page] = []
    at, end = chunk.start, chunk.start + chunk.size
    entry = 0
    while at < end:
        try:
            header, begin = _header(read, at, end)
            unpacked, packed = header[2, I32], header[3, I32]
            if unpacked < 0 or not 0 <= packed <= end + PADDING - begin:
                raise ValueError("it has more bytes than there are")
            values = header[7, STRUCT][1, I32] if header[1, I32] == DICTIONARY_PAGE else 0
            charge(begin + packed - at, unpacked + max(0, values) * (VALUE_BYTES + 4))
            if header[1, I32] == DICTIONARY_PAGE:
                entry = max(entry, unpacked)
            elif header[1, I32] in (DATA_PAGE, DATA_PAGE_V2):
                found.append(_page(header, chunk, rows, entry, partial(read, begin, packed)))
        except (KeyError, IndexError, ValueError, OSError) as error:
            said = "its description is damaged" if isinstance(error, LookupError) else str(error)
            return found, at, f"the page at byte {at} of the file cannot be read: {said}"
        at = begin + packed
    return found, at, ""


def _header(read: Callable[[int, int], bytes], at: int, end: int) -> tuple[Struct, int]:
    size = 4096
    while True:
        data = read(at, min(size, end - at))
        try:
            header, used = read_struct(data)
            return header, at + used
        except TruncatedError:
            if size >= min(MAX_HEADER_BYTES, end - at):
                raise
            size *= 8


def _page(header: Struct, chunk: Chunk, rows: int, entry: int, body: Callable[[], bytes]) -> Page:
    """What a header tells; ``entry`` is the most bytes that an entry of the chunk's dictionary takes."""
    second, unpacked = header[1, I32] == DATA_PAGE_V2, header[2, I32]
    about = header[8 if second else 5, STRUCT]
    values, encoding = about[1, I32], about[4 if second else 2, I32]
    if not 0 <= values <= rows:
        raise ValueError("it claims more values than there are rows")
    fixed = values * VALUE_BYTES
    if chunk.kind not in BYTE_ARRAYS:
        return Page(values, encoding, fixed, VALUE_BYTES)
    if encoding in CODES:
        return Page(values, encoding, fixed + values * entry, VALUE_BYTES + entry)
    if encoding in (DELTA_LENGTHS, DELTA_PREFIXES):
        data, at = _values(about, chunk, second, unpacked, values, body())
        lengths, at = _deltas(data, at, values, encoding == DELTA_PREFIXES)
        if encoding == DELTA_PREFIXES:
            suffixes, _ = _deltas(data, at, values, True)
            if len(suffixes) != len(lengths):
                raise ValueError("its prefixes and suffixes do not pair")
            lengths = np.maximum(lengths, 0) + np.maximum(suffixes, 0)
            return Page(values, encoding, fixed + int(lengths.sum()), VALUE_BYTES + int(lengths.max(initial=0)))
    return Page(values, encoding, fixed + unpacked, VALUE_BYTES + unpacked // max(1, values))


def _values(about: Struct, chunk: Chunk, second: bool, unpacked: int, values: int, body: bytes) -> tuple[bytes, int]:
    """The body of a page unpacked, and the place in it where the values begin, behind what says which are missing."""
    import pyarrow as pa

    levels = about.get((5, I32), 0) + about.get((6, I32), 0) if second else 0
    if not 0 <= levels <= min(unpacked, len(body)):
        raise ValueError("its levels have more bytes than it has")
    data = body[levels:]
    if chunk.codec and about.get((7, BOOL), True):
        if chunk.codec not in CODECS:
            raise ValueError("its compression is not one of " + ", ".join(CODECS.values()))
        data = pa.Codec(CODECS[chunk.codec]).decompress(data, unpacked - levels, asbytes=True)
    if second or not chunk.optional:
        return data, 0
    return data, (values + 7) // 8 if about.get((3, I32)) == BIT_PACKED else 4 + int.from_bytes(data[:4], "little")


def _deltas(data: bytes, at: int, most: int, wanted: bool) -> tuple[npt.NDArray[np.int64], int]:
    """Numbers in the encoding DELTA_BINARY_PACKED and the place behind them, or only whether they are few enough.

    pyarrow makes room for as many as are claimed, however short the page is.
    """
    size, at = varint(data, at)
    parts, at = varint(data, at)
    count, at = varint(data, at)
    first, at = varint(data, at)
    if not 0 < parts <= size or count > most:
        raise ValueError("it claims more lengths than values")
    each = size // parts
    found = [np.array([zigzag(first)][:count], dtype=np.int64)]
    left = count - 1 if wanted else 0
    while left > 0:
        least, at = varint(data, at)
        widths, at = data[at : at + parts], at + parts
        for width in widths:
            if left <= 0:
                break
            taken, used = min(each, left), width * each // 8
            if width > 64 or used > len(data) - at:
                raise ValueError("its lengths are cut off")
            for start in range(0, taken, STEP):
                found.append(_unpacked(data, at + start * width // 8, min(STEP, taken - start), width, zigzag(least)))
            at, left = at + used, left - taken
    # As pyarrow does, in 32 bits that overflow in silence.
    return np.cumsum(np.concatenate(found)).astype(np.int32).astype(np.int64), at


def _unpacked(data: bytes, at: int, count: int, width: int, least: int) -> npt.NDArray[np.int64]:
    bits = np.unpackbits(np.frombuffer(data, np.uint8, (count * width + 7) // 8, at), bitorder="little")
    weights = np.left_shift(np.uint64(1), np.arange(width, dtype=np.uint64))
    steps = bits[: count * width].reshape(count, width) @ weights
    return steps.astype(np.int64) + np.int64(least)


def widest_window(columns: Sequence[Sequence[Page]], fixed: int, budget: int, most: int) -> int:
    """How many rows may be decoded at once, halved from ``most`` until they surely fit.

    Args:
        columns: data pages of the columns whose values have a length.
        fixed: how many columns there are besides.
        budget: bytes that are decoded at once.
        most: rows that are decoded at once at the most.
    """
    while most > 1 and fixed * VALUE_BYTES * most + sum(_heaviest(pages, most) for pages in columns) > budget:
        most //= 2
    return most


def _heaviest(pages: Sequence[Page], window: int) -> int:
    """Bytes of the heaviest ``window`` rows that follow one another."""
    ends = np.cumsum([0, *(page.values for page in pages)])
    sizes = np.cumsum([0, *(min(page.decoded, window * page.longest) for page in pages)])
    last = np.minimum(np.searchsorted(ends, ends[1:] + window - 1), len(pages))
    return int((sizes[last] - sizes[:-1]).max(initial=0))


class TruncatedError(ValueError):
    """The bytes end inside the structure."""


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """The structure that begins at a place, and the place behind it.

    Raises:
        TruncatedError: the bytes end before it does.
        ValueError: it is damaged.
    """
    reader = _ThriftReader(data, at)
    try:
        return reader.struct(0), reader.at
    except IndexError:
        raise TruncatedError("the description is cut off") from None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned whole number of seven bits a byte, and the place behind it."""
    reader = _ThriftReader(data, at)
    return reader.varint(), reader.at


def zigzag(value: int) -> int:
    """The signed number that an unsigned one means."""
    return (value >> 1) ^ -(value & 1)


class _ThriftReader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFFFFFFFFFFFFFF
            shift += 7
        raise ValueError("a number of more than ten bytes")

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise IndexError
        self.at += size
        return self.data[self.at - size : self.at]

    def struct(self, depth: int) -> Struct:
        if depth > MAX_DEPTH:
            raise ValueError(f"a description that nests deeper than {MAX_DEPTH}")
        found: Struct = {}
        number = 0
        while True:
            head = self.data[self.at]
            self.at += 1
            kind = head & 15
            if not kind:
                return found
            number = number + (head >> 4) if head >> 4 else zigzag(self.varint() & 0xFFFF)
            found[number, BOOL if kind == 2 else kind] = kind == 1 if kind <= 2 else self.value(kind, depth)

    def value(self, kind: int, depth: int) -> Any:
        if kind in (4, I32):
            return zigzag(self.varint() & 0xFFFFFFFF)
        if kind == I64:
            return zigzag(self.varint())
        if kind == BINARY:
            return self.take(self.varint())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, 10):
            head = self.take(1)[0]
            size = head >> 4 if head >> 4 < 15 else self.varint()
            return [self.value(head & 15, depth + 1) for _ in self.checked(size)]
        if kind == 11:
            pairs = self.checked(self.varint())
            kinds = self.take(1)[0] if pairs else 0
            return [(self.value(kinds >> 4, depth + 1), self.value(kinds & 15, depth + 1)) for _ in pairs]
        if kind in (1, 2, 3):
            return self.take(1)[0]
        if kind in (7, 13):
            return self.take(8 if kind == 7 else 16)
        raise ValueError(f"a field of the unknown type {kind}")

    def checked(self, size: int) -> range:
        """That many elements, each of which takes a byte at least."""
        if size > len(self.data) - self.at:
            raise IndexError
        return range(size)
