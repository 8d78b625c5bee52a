"""Columns of many rows at once, as Parquet and Arrow hold them, checked before they are trusted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from curation_pipeline.corpus.rows import Batch, RowBuilder

if TYPE_CHECKING:
    import pyarrow as pa

MAX_WINDOW_ROWS = 8_192
"""Most rows that are turned into Python values at once."""


def damage() -> tuple[type[BaseException], ...]:
    """What pyarrow raises where a file is damaged."""
    import pyarrow as pa

    return (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        TypeError,
        MemoryError,
        EOFError,
    )


def add_table(batch: pa.RecordBatch, position: int, rows: RowBuilder) -> Iterator[Batch]:
    """Adds the rows of a record batch; those whose values cannot be decoded are failures of their own.

    Args:
        batch: any columns; those that hold neither text nor numbers nor truth values are left out.
        position: of its first row in the file.
        rows: where the rows go.

    Yields:
        Full batches.
    """
    columns: dict[str, list[Any]] = {}
    broken: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if is_simple(column.type) or name in (rows.options.url_column, rows.options.created_at_column):
            columns[name] = _values(column, name, broken)
    if rows.options.text_column not in columns and rows.options.text_column in batch.schema.names:
        kind = batch.schema.field(rows.options.text_column).type
        broken = dict.fromkeys(range(batch.num_rows), f"column {rows.options.text_column!r} holds {kind}, not text")
    names = tuple(columns)
    values = zip(*columns.values(), strict=True) if columns else iter([()] * batch.num_rows)
    for index, row in enumerate(values):
        record = dict(zip(names, row, strict=True))
        problem = broken.get(index) or rows.record(position + index, record)
        if problem:
            text = record.get(rows.options.text_column)
            rows.fail(position + index, -1, "" if text is None else str(text)[:200], problem)
        if rows.full:
            yield rows.take()


def is_simple(kind: pa.DataType) -> bool:
    """Whether a column holds text, numbers or truth values: what a document or its metadata can take."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(text or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _values(column: pa.Array, name: str, broken: dict[int, str]) -> list[Any]:
    """The values of a column; texts that are not valid UTF-8 become None and their rows are added to ``broken``.

    Raises:
        ArrowException: offsets or indices point outside the column's data.
    """
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column.validate(full=False)
        indices = column.indices
        bound = len(column.dictionary)
        lost: dict[int, str] = {}
        picked = _values(column.dictionary, name, lost)
        values: list[Any] = []
        for index, code in enumerate(indices.to_pylist()):
            if code is not None and not 0 <= code < bound:
                raise pa.ArrowInvalid(f"an index of column {name!r} points outside its dictionary")
            values.append(None if code is None else picked[code])
            if code in lost:
                broken[index] = lost[code]
        return values
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if not (types.is_string(column.type) or types.is_large_string(column.type)):
            raise
        kind = pa.binary() if types.is_string(column.type) else pa.large_binary()
        raw = pa.Array.from_buffers(kind, len(column), column.buffers(), column.null_count, column.offset)
        raw.validate(full=True)  # The offsets must be sound before a byte is touched.
        values = []
        for index, value in enumerate(raw.to_pylist()):
            try:
                values.append(None if value is None else value.decode("utf-8"))
            except UnicodeDecodeError as error:
                broken[index] = f"column {name!r} is not valid UTF-8 at byte {error.start}"
                values.append(value.decode("utf-8", "backslashreplace"))
        return values
    values = column.to_pylist()
    return values
