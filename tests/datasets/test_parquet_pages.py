"""What is read of a Parquet file before pyarrow decodes it."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.datasets import parquet
from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.datasets.parquet import ParquetFile
from curation_pipeline.datasets.parquet_pages import (
    VALUE_BYTES,
    Page,
    read_footer,
    read_pages,
    read_struct,
    widest_window,
)

TEXTS = st.lists(st.none() | st.text(max_size=30) | st.just("prefix " * 20), min_size=1, max_size=300)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_description_are_a_value_error(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_struct(raw)


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "lz4"])
@given(texts=TEXTS)
def test_pages_are_sized_before_they_are_decoded(
    texts: list[str | None], encoding: str, version: str, compression: str
) -> None:
    raw = io.BytesIO()
    pq.write_table(
        pa.table({"text": pa.array(texts, pa.string())}),
        raw,
        use_dictionary=False,
        column_encoding={"text": encoding},
        data_page_version=version,
        compression=compression,
        data_page_size=400,
        write_batch_size=16,
    )
    footer = read_footer(raw)
    assert (footer.rows, [group.rows for group in footer.groups]) == (len(texts), [len(texts)])
    (chunk,) = footer.groups[0].chunks
    seen: list[int] = []
    data = raw.getvalue()
    pages, end, problem = read_pages(
        chunk, len(texts), lambda at, size: data[at : at + size], lambda stored, _: seen.append(stored)
    )
    assert (end, problem, sum(seen)) == (chunk.start + chunk.size, "", chunk.size)
    assert sum(page.values for page in pages) == len(texts)
    lengths = [len((text or "").encode()) for text in texts]
    decoded = sum(page.decoded - page.values * VALUE_BYTES for page in pages)
    assert decoded == sum(lengths) if encoding == "DELTA_BYTE_ARRAY" else decoded >= sum(lengths)
    file = ParquetFile(raw)
    assert pa.Table.from_batches(file.batches(0, ["text"], Meter()))["text"].to_pylist() == texts


@given(
    st.lists(st.lists(st.integers(0, 1_000), min_size=1, max_size=9), min_size=1, max_size=9),
    st.integers(1_000, 20_000),
)
def test_a_window_fits_wherever_it_begins(pages: list[list[int]], budget: int) -> None:
    sized = [Page(len(page), 7, sum(page), max(page)) for page in pages]
    window = widest_window([sized], 0, budget, 64)
    lengths = [length for page in pages for length in page]
    heaviest = max(sum(lengths[at : at + window]) for at in range(len(lengths)))
    assert heaviest <= budget or window == 1


def test_large_row_groups_are_read_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {i} " + "word " * (i % 50) for i in range(5_000)]
    raw = io.BytesIO()
    table: Any = pa.table({"text": texts, "text.raw": [b"x"] * 5_000, "n": np.arange(5_000)})
    pq.write_table(table, raw, row_group_size=2_000, data_page_size=2_000)
    for whole in (parquet.WHOLE_BYTES, 0):
        monkeypatch.setattr(parquet, "WHOLE_BYTES", whole)
        file, meter = ParquetFile(raw), Meter()
        found = [batch["text"] for index in range(3) for batch in file.batches(index, ["text", "n"], meter)]
        assert [text for column in found for text in column.to_pylist()] == texts
        assert 0 < meter.taken < len(raw.getvalue())
