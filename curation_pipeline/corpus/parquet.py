"""Parquet files, a window of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from curation_pipeline.corpus.columnar import MAX_WINDOW_ROWS, add_table, damage, is_simple
from curation_pipeline.corpus.rows import Batch, ReadOptions, RowBuilder

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW_BYTES = 16 * 1024 * 1024
"""About how many bytes of values are decoded at once."""

SMALL_WINDOW_ROWS = 256

WHOLE_BYTES = 256 * 1024 * 1024
"""Columns of row groups up to this size are fetched whole; those of larger ones in pieces of ``PIECE_BYTES``."""

PIECE_BYTES = 1024 * 1024


def read_parquet(stream: BinaryIO, options: ReadOptions) -> Iterator[Batch]:
    """Batches of a Parquet file. Damage costs the rest of its row group, which is one failure.

    A column that is encoded by a dictionary stays so, which is what keeps a file of one long value a million times from
    being unpacked whole.
    """
    errors = damage()
    rows = RowBuilder(options)
    named = (options.text_column, options.url_column, options.created_at_column)
    try:
        probe = _open(stream)
        groups = [probe.metadata.row_group(i) for i in range(probe.num_row_groups)]
        sizes = [group.num_rows for group in groups]
        wanted = [field.name for field in probe.schema_arrow if is_simple(field.type) or field.name in named]
        coded = [name for name in wanted if _is_text_type(probe.schema_arrow.field(name).type)]
        # In pieces, a damaged page header makes pyarrow ask for up to 2 GiB; whole, it meets the column's end.
        pieces = PIECE_BYTES if any(group.total_byte_size > WHOLE_BYTES for group in groups) else 0
        file = _open(stream, read_dictionary=coded, buffer_size=pieces)
    except errors as error:
        rows.fail(0, -1, "", f"not a readable Parquet file: {error}")
        yield from rows.drain()
        return
    start = 0
    for index, size in enumerate(sizes):
        done, window = start, _window(groups[index])
        reason = ""
        for attempt in (file, None):
            try:
                if attempt is None:
                    # An encoding that cannot be kept as a dictionary. Its values may be far longer than their share.
                    attempt, window = _open(stream, buffer_size=pieces), min(window, SMALL_WINDOW_ROWS)
                for batch in attempt.iter_batches(batch_size=window, row_groups=[index], columns=wanted):
                    yield from add_table(batch, done, rows)
                    done += batch.num_rows
            except errors as error:
                reason = f"row group {index} ({size} rows) breaks off at row {done - start}: {error}"
                if attempt is file and done == start:
                    continue
            else:
                reason = ""
            break
        if reason:
            rows.fail(done, -1, "", reason)
        start += size
    yield from rows.drain()


def _open(stream: BinaryIO, **options: Any) -> Any:
    import pyarrow.parquet as pq

    stream.seek(0)
    return pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True, **options)


def _is_text_type(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _window(group: Any) -> int:
    """How many rows of a row group are decoded at once: as many as fit into ``WINDOW_BYTES`` on average.

    Only the row group's own fields are asked: pyarrow ends the process where it meets the damaged description of a
    column in its Python interface, while its readers raise.
    """
    mean = max(1, group.total_byte_size // max(1, group.num_rows))
    return int(min(MAX_WINDOW_ROWS, max(1, WINDOW_BYTES // mean)))
