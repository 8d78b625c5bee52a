"""Parquet files, a window of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from curation_pipeline.corpus.columnar import add_table, damage, fail_rows, least_bytes, readable_columns, text_problem
from curation_pipeline.corpus.readers import FileReader
from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.source import FileSettings
from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.datasets.parquet import ParquetFile


def read_parquet(stream: BinaryIO, settings: FileSettings, meter: Meter) -> Iterator[Batch]:
    """Batches of a Parquet file. Damage costs the rest of its row group, which is one failure.

    So does a row group that unpacks to more than the limits allow; pages are looked at before they are unpacked, and
    rows before they are made.
    """
    rows = RowBuilder(settings)
    try:
        file = ParquetFile(stream)
        schema = file.schema
        wanted = readable_columns(schema, rows)
        columns = [name for name in schema.names if name in wanted]
    except damage() as error:
        rows.fail(0, -1, "", f"not a readable Parquet file: {error}", rows=None)
        yield from rows.drain()
        return
    pages, values = meter, meter.fresh()
    problem = text_problem(schema, wanted, rows)
    start = 0
    for index, group in enumerate(file.footer.groups):
        if not group.rows:
            continue
        before, reason = rows.met, ""
        try:
            batches = file.batches(index, columns, pages)
            values.taken = pages.taken
            values.allow(least_bytes(group.rows, len(columns)))
            if problem:
                values.spend(least_bytes(group.rows, 0))
                yield from fail_rows(start, group.rows, problem, rows)
            else:
                for batch in batches:
                    piece = batch.slice(0, group.rows - (rows.met - before))
                    yield from add_table(piece, start + rows.met - before, rows, wanted, values)
        except damage() as error:
            reason = f": {error}"
        done = rows.met - before
        if done < group.rows:
            reason = f"row group {index} ({group.rows} rows) breaks off at row {done}{reason}"
            rows.fail(start + done, -1, "", reason, rows=group.rows - done)
        start += group.rows
    if start != file.footer.rows:
        reason = f"the file's footer counts {file.footer.rows} rows, its row groups {start}"
        rows.fail(start, -1, "", reason, rows=None)
    yield from rows.drain(file.footer.rows)


READERS = (FileReader((".parquet", ".pq"), read_parquet, takes="file"),)
