"""Columns of many rows at once, as Parquet and Arrow hold them, checked before they are trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.schema import EXCERPT_CHARS
from curation_pipeline.datasets.bounds import BombError, Meter

if TYPE_CHECKING:
    import pyarrow as pa

MAX_WINDOW_ROWS = 8_192
"""Most rows that are turned into Python values at once."""

WINDOW_BYTES = 16 * 1024 * 1024
"""Most bytes that they take, as far as single rows allow."""

CELL_BYTES = 40
"""About what a value takes in Python besides its text."""

SLICE_ROWS = 1 << 20
"""Rows whose sizes are looked at together."""


def least_bytes(count: int, columns: int) -> int:
    """What rows count for at the least, so that values without bytes are no way around the limits."""
    return count * (16 + 8 * columns)


Cells = tuple[npt.NDArray[np.int64], Callable[[int, int], list[Any]]]
"""Bytes of each value of a column, and what makes Python values of a range of them."""


def damage() -> tuple[type[BaseException], ...]:
    """What is raised where a file is damaged or unpacks to too much."""
    import pyarrow as pa

    return (
        BombError,
        pa.ArrowException,
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
        TypeError,
        ArithmeticError,
        MemoryError,
        EOFError,
    )


def readable_columns(schema: pa.Schema, rows: RowBuilder) -> set[str]:
    """Names of the columns that a document or its metadata can take; a named one that is none is told as a failure."""
    settings = rows.settings
    found = {field.name for field in schema if is_simple(field.type)}
    for name in {settings.url_column, settings.created_at_column} - {None, settings.text_column}:
        kinds = [field.type for field in schema if field.name == name]
        if kinds and _is_plain(kinds[-1]):
            found.add(str(name))
        elif kinds:
            rows.fail(0, -1, "", f"column {name!r} holds {kinds[-1]}, no plain value: it is left empty", rows=0)
    return found


def text_problem(schema: pa.Schema, wanted: set[str], rows: RowBuilder) -> str:
    """Why no row can be a document; empty where some may be."""
    settings = rows.settings
    for named in filter(None, (settings.text_column, settings.url_column, settings.created_at_column)):
        if schema.names.count(named) > 1:
            return f"the file names column {named!r} more than once; rename one"
    name = settings.text_column
    if name in wanted:
        return ""
    if name in schema.names:
        return f"column {name!r} holds {schema.types[schema.names.index(name)]}, not text"
    return "" if wanted else f"no text in column {name!r} (columns: {', '.join(schema.names[:12])})"


def fail_rows(position: int, count: int, reason: str, rows: RowBuilder) -> Iterator[Batch]:
    """Makes each of some rows a failure; yields full batches."""
    for place in range(position, position + count):
        rows.fail(place, -1, "", reason)
        if rows.full:
            yield rows.take()


def add_table(
    batch: pa.RecordBatch, position: int, rows: RowBuilder, wanted: set[str], meter: Meter | None = None
) -> Iterator[Batch]:
    """Adds the rows of a record batch; those whose values cannot be decoded are failures of their own.

    Args:
        batch: any columns.
        position: of its first row in the file.
        rows: where the rows go.
        wanted: names of the columns that are read, of :func:`readable_columns`.
        meter: is charged with what the rows take.

    Yields:
        Full batches.

    Raises:
        ArrowException: offsets point outside of a column's data.
        BombError: the rows take more than is allowed; those before are added.
    """
    problem = text_problem(batch.schema, wanted, rows)
    for start in range(0, batch.num_rows, SLICE_ROWS):
        piece = batch.slice(start, SLICE_ROWS)
        if problem:
            if meter is not None:
                meter.spend(least_bytes(piece.num_rows, 0))
            yield from fail_rows(position + start, piece.num_rows, problem, rows)
        else:
            yield from _add_slice(piece, position + start, rows, wanted, meter)


def _add_slice(
    batch: pa.RecordBatch, position: int, rows: RowBuilder, wanted: set[str], meter: Meter | None
) -> Iterator[Batch]:
    most = rows.settings.max_document_bytes
    broken: dict[int, str] = {}
    columns = {name: column for name, column in zip(batch.schema.names, batch.columns, strict=True) if name in wanted}
    cells = {name: _cells(column, name, broken) for name, column in columns.items()}
    sizes = sum((lengths for lengths, _ in cells.values()), np.zeros(batch.num_rows, dtype=np.int64))
    # What is too long stays where it is: no Python value is made of it.
    long = sizes > most
    weights = np.where(long, 0, sizes) + least_bytes(1, len(cells))
    text = columns.get(rows.settings.text_column)
    for start, stop in _windows(weights + CELL_BYTES * len(cells)):
        if meter is not None:
            meter.spend(int(weights[start:stop].sum()))
        for index in (start + np.flatnonzero(long[start:stop])).tolist():
            reason = f"a row of {sizes[index]} bytes; max_document_bytes is {most}"
            rows.fail(position + index, -1, _beginning(text, index), reason)
        for first, last in _runs(start + np.flatnonzero(~long[start:stop])):
            values = zip(*(pick(first, last) for _, pick in cells.values()), strict=True)
            for index, row in enumerate(values, first):
                record = dict(zip(cells, row, strict=True))
                problem = broken.get(index) or rows.record(position + index, record)
                if problem:
                    shown = record.get(rows.settings.text_column)
                    rows.fail(position + index, -1, "" if shown is None else str(shown)[:EXCERPT_CHARS], problem)
                if rows.full:
                    yield rows.take()


def _runs(indices: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of numbers that follow one another."""
    for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
        if len(run):
            yield int(run[0]), int(run[-1]) + 1


def _windows(weights: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows that weigh no more than ``WINDOW_BYTES`` together, or are one row."""
    ends = np.cumsum(weights)
    start, before = 0, 0
    while start < len(ends):
        stop = int(np.searchsorted(ends, before + WINDOW_BYTES, side="right"))
        stop = min(max(stop, start + 1), start + MAX_WINDOW_ROWS)
        yield start, stop
        start, before = stop, int(ends[stop - 1])


def _text_as_bytes(kind: pa.DataType) -> pa.DataType | None:
    """The type of bytes that a type of text is stored as; None for other types."""
    import pyarrow as pa

    pairs = ((pa.string(), pa.binary()), (pa.large_string(), pa.large_binary()), (pa.string_view(), pa.binary_view()))
    return next((stored for text, stored in pairs if text == kind), None)


def is_simple(kind: pa.DataType) -> bool:
    """Whether a column holds text, numbers or truth values: what a document or its metadata can take."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return bool(number or _text_as_bytes(kind) is not None)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a column holds values that one field can show: simple ones, times, decimals, bytes."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    stored = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return bool(is_simple(kind) or stored or types.is_temporal(kind) or types.is_decimal(kind) or types.is_null(kind))


def _cells(column: pa.Array, name: str, broken: dict[int, str]) -> Cells:
    """The values of a column. Rows whose value cannot be had are added to ``broken``, some when values are made.

    Raises:
        ArrowException: offsets point outside of the column's data.
    """
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        return _coded_cells(column, name, broken)
    if stored := _text_as_bytes(column.type):
        return _text_cells(column, column.view(stored), name, broken)
    column.validate()
    lengths = np.zeros(len(column), dtype=np.int64)
    if types.is_binary(column.type) or types.is_large_binary(column.type):
        column.validate(full=True)
        lengths = _lengths(column)
    elif types.is_fixed_size_binary(column.type):
        lengths += column.type.byte_width

    def pick(start: int, stop: int) -> list[Any]:
        piece = column.slice(start, stop - start)
        try:
            piece.validate(full=True)
            values = piece.to_pylist()
        except (ValueError, ArithmeticError, LookupError):
            values = [_value(column.slice(index, 1), name, index, broken) for index in range(start, stop)]
        # A time that is none is unequal to itself.
        return [None if value != value else value for value in values] if types.is_temporal(column.type) else values

    return lengths, pick


def _value(single: pa.Array, name: str, index: int, broken: dict[int, str]) -> Any:
    """One value that Python may not be able to hold: a time in the year 10,000, or in a zone that nobody knows."""
    import pyarrow.types as types

    kind = single.type
    try:
        single.validate(full=True)
        try:
            return single[0].as_py()
        except (ValueError, ArithmeticError, LookupError):
            if types.is_duration(kind):
                return f"{single[0].value} {kind.unit}"
            unit: Any = "D" if types.is_date32(kind) else "ms" if types.is_date64(kind) else kind.unit
            moment = np.datetime64(single[0].value, unit)
            zone = "+00:00" if types.is_timestamp(kind) and kind.tz else ""
            return None if np.isnat(moment) else str(moment).replace("T", " ") + zone
    except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
        broken[index] = f"column {name!r} holds no readable {kind}: {error}"
        return None


def _lengths(stored: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes of the values of a sound array of bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if stored.type != pa.binary_view():
        found = pc.fill_null(pc.binary_length(stored), 0).to_numpy(zero_copy_only=False)
    else:
        views = np.frombuffer(stored.buffers()[1], dtype=np.int32)
        found = views[4 * stored.offset :: 4][: len(stored)] * stored.is_valid().to_numpy(zero_copy_only=False)
    return np.asarray(found, dtype=np.int64)


def _text_cells(column: pa.Array, stored: pa.Array, name: str, broken: dict[int, str]) -> Cells:
    import pyarrow as pa

    stored.validate(full=True)  # The offsets must be sound before a byte is touched.

    def pick(start: int, stop: int) -> list[Any]:
        piece = column.slice(start, stop - start)
        try:
            piece.validate(full=True)
        except pa.ArrowInvalid:
            values: list[Any] = stored.slice(start, stop - start).to_pylist()
            for place, value in enumerate(values):
                try:
                    values[place] = None if value is None else value.decode("utf-8")
                except UnicodeDecodeError as error:
                    broken[start + place] = f"column {name!r} is not valid UTF-8 at byte {error.start}"
                    values[place] = value.decode("utf-8", "backslashreplace")
            return values
        return list(piece.to_pylist())

    return _lengths(stored), pick


def _coded_cells(column: pa.Array, name: str, broken: dict[int, str]) -> Cells:
    column.validate()
    codes, valid = _codes(column)
    lost: dict[int, str] = {}
    known, entries = _cells(column.dictionary, name, lost)
    inside = (codes >= 0) & (codes < len(known))
    for index in np.flatnonzero(valid & ~inside).tolist():
        broken[index] = f"column {name!r} holds index {codes[index]}, outside of its dictionary of {len(known)} values"
    sound = valid & inside
    lengths = np.zeros(len(column), dtype=np.int64)
    lengths[sound] = known[codes[sound]]

    def pick(start: int, stop: int) -> list[Any]:
        places = np.flatnonzero(sound[start:stop])
        used, which = np.unique(codes[start + places], return_inverse=True)
        picked = [value for run in _runs(used) for value in entries(*run)]
        values: list[Any] = [None] * (stop - start)
        for place, entry in zip(places.tolist(), which.tolist(), strict=True):
            values[place] = picked[entry]
            if lost and (code := int(used[entry])) in lost:
                broken[start + place] = lost[code]
        return values

    return lengths, pick


def _codes(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Which entries of its dictionary a column names, and where it names one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.fill_null(column.indices.cast(pa.int64(), safe=False), -1).to_numpy(zero_copy_only=False)
    return codes, column.indices.is_valid().to_numpy(zero_copy_only=False)


def _beginning(column: pa.Array | None, index: int) -> bytes:
    """The first bytes of a text that is not to be made whole."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    if column is not None and types.is_dictionary(column.type):
        codes, valid = _codes(column.slice(index, 1))
        column, index = (column.dictionary, int(codes[0])) if valid[0] else (None, 0)
    stored = None if column is None else _text_as_bytes(column.type)
    if column is None or stored is None or stored == pa.binary_view():
        return b""
    return pc.binary_slice(column.slice(index, 1).view(stored), 0, 4 * EXCERPT_CHARS)[0].as_py() or b""
