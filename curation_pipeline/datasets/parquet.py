"""Row groups of Parquet files, decoded by pyarrow in windows that fit into memory whatever the file claims."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.datasets.parquet_pages import (
    BYTE_ARRAYS,
    CODES,
    PADDING,
    PLAIN,
    VALUE_BYTES,
    Page,
    read_footer,
    read_pages,
    widest_window,
)

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW_BYTES = 64 * 1024 * 1024
"""Most bytes of values that are decoded at once, as far as single values allow."""

MAX_WINDOW_ROWS = 8_192

WHOLE_BYTES = 256 * 1024 * 1024
"""Columns of row groups up to this size are fetched whole; those of larger ones in pieces of ``PIECE_BYTES``."""

PIECE_BYTES = 1024 * 1024

MAX_PAGE_VALUES = 2**31 - 1


class ParquetFile:
    """An open Parquet file.

    Attributes:
        footer: what its table of contents says.
        schema: the columns as Arrow types.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read the table of contents.

        Raises:
            OSError: it cannot be read, as of other errors that pyarrow raises.
            ValueError: it is damaged.
        """
        import pyarrow.parquet as pq

        self._stream, self._size = stream, stream.seek(0, 2)
        self._fetched = _Fetched(self._size)
        self._decoders: dict[tuple[tuple[str, ...], bool], Any] = {}
        self.footer = read_footer(stream)
        stream.seek(0)
        file = pq.ParquetFile(stream)
        if file.num_row_groups != len(self.footer.groups):
            raise ValueError("its table of contents is damaged")
        self._metadata: Any = file.metadata
        self.schema: pa.Schema = file.schema_arrow
        self._is_text = {name: _is_text(kind) for name, kind in zip(self.schema.names, self.schema.types, strict=True)}

    def batches(self, index: int, columns: list[str], meter: Meter, coded: bool = True) -> Iterator[pa.RecordBatch]:
        """The rows of a row group, once its pages have been looked at; one row group at a time.

        A column of text that is encoded by a dictionary may stay so, which keeps a long value that is in a million
        rows from being unpacked a million times.

        Args:
            index: of the row group.
            columns: those to decode; none of them nested.
            meter: is charged with the pages at once.
            coded: whether such a column stays so.

        Raises:
            BombError: the pages unpack to more than is allowed.
            OSError: the file cannot be read.
            ValueError: a page's description is damaged, in a row group that is not fetched whole.
        """
        group = self.footer.groups[index]
        # pyarrow takes a name for all columns whose name begins with it and a dot, too.
        named = set(columns)
        chunks = [chunk for chunk in group.chunks if not named.isdisjoint(_prefixes(chunk.column))]
        whole = sum(chunk.size for chunk in chunks) <= WHOLE_BYTES
        fetched: dict[int, bytes] = {}
        sized: list[list[Page]] = []
        codes: list[str] = []
        problem = ""

        for chunk in chunks:
            if chunk.start + chunk.size > self._size:
                raise ValueError(f"column {chunk.column!r} ends behind the end of the file")
            read = self._read
            if whole:
                data = self._read(chunk.start, chunk.size + PADDING)
                read = partial(_part, data, chunk.start)
            pages, end, wrong = read_pages(chunk, group.rows, read, partial(self._charge, meter))
            if wrong and not whole:
                raise ValueError(wrong)
            if whole:
                # pyarrow stops at damage that was found, and gives the rows before it.
                fetched[chunk.start] = (
                    data[: end - chunk.start] + bytes(chunk.start + len(data) - end) if wrong else data
                )
                problem = problem or wrong
            if chunk.kind not in BYTE_ARRAYS:
                continue
            encodings = {page.encoding for page in pages}
            if coded and self._is_text.get(chunk.column) and encodings & CODES and encodings <= CODES | {PLAIN}:
                codes.append(chunk.column)
                pages = [page for page in pages if page.encoding == PLAIN]
            sized.append(pages)
        window = widest_window(sized, len(columns), WINDOW_BYTES, MAX_WINDOW_ROWS)
        self._fetched.chunks = fetched
        return self._decode(self._decoder(codes, whole), index, columns, window, problem)

    def _decoder(self, codes: list[str], whole: bool) -> Any:
        """What decodes row groups with these columns coded, out of what was fetched or piece by piece."""
        import pyarrow.parquet as pq

        key = (tuple(codes), whole)
        if key not in self._decoders:
            source: Any = self._fetched if whole else self._stream
            self._decoders[key] = pq.ParquetFile(
                source,
                metadata=self._metadata,
                read_dictionary=codes,
                buffer_size=0 if whole else PIECE_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
                # In nanoseconds the years before 1677 and from 2263 on would silently become others.
                coerce_int96_timestamp_unit="us",
            )
        return self._decoders[key]

    def _decode(
        self, decoder: Any, index: int, columns: list[str], window: int, problem: str
    ) -> Iterator[pa.RecordBatch]:
        try:
            yield from decoder.iter_batches(batch_size=window, row_groups=[index], columns=columns)
        except Exception as error:
            if problem:
                raise ValueError(problem) from error
            raise

    def check(self, meter: Meter) -> None:
        """Looks at all pages of a file that another library is to decode.

        Raises:
            BombError: they unpack to more than is allowed.
            ValueError: one is damaged.
        """
        for group in self.footer.groups:
            for chunk in group.chunks:
                pages, _, wrong = read_pages(chunk, MAX_PAGE_VALUES, self._read, partial(self._charge, meter))
                if wrong:
                    raise ValueError(wrong)
                # A text that is in many rows is held once.
                meter.spend(sum(VALUE_BYTES * p.values if p.encoding in CODES else p.decoded for p in pages))

    def _charge(self, meter: Meter, stored: int, unpacked: int) -> None:
        # No more than there is, should descriptions name the same bytes again and again.
        meter.take(stored)
        meter.taken = min(self._size * meter.share, meter.taken)
        meter.spend(unpacked)

    def _read(self, at: int, size: int) -> bytes:
        self._stream.seek(at)
        return self._stream.read(size)


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _part(data: bytes, start: int, at: int, size: int) -> bytes:
    return data[at - start : at - start + size]


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


class _Fetched(io.RawIOBase):
    """Columns that were fetched and looked at, as a file that has nothing else."""

    def __init__(self, size: int) -> None:
        self.chunks: dict[int, bytes] = {}
        self._size, self._at = size, 0

    def seek(self, place: int, whence: int = 0) -> int:
        self._at = place + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        data = self.chunks.get(self._at, b"")
        if size > len(data):
            raise OSError(f"a column of {size} bytes at byte {self._at} of the file, where {len(data)} are")
        return data[:size]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
