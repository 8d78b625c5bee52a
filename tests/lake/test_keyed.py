"""Lookups in a sorted file find what a scan finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.lake.keyed import lookup, row_at, write_keyed


@given(
    keys=st.lists(st.sampled_from([f"{i:02x}" for i in range(40)]), min_size=1, max_size=80),
    asked=st.lists(st.sampled_from([f"{i:02x}" for i in range(45)]), max_size=20),
    group=st.integers(1, 12),
)
def test_a_lookup_equals_a_filter(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], asked: list[str], group: int
) -> None:
    path = tmp_path_factory.mktemp("keyed") / "t.parquet"
    frame = pl.DataFrame({"doc_id": keys, "value": range(len(keys))}).sort("doc_id", "value")
    frame.write_parquet(path, row_group_size=group, statistics=True)
    found = lookup(path, asked, ["value"])
    assert found.sort("doc_id", "value").equals(frame.filter(pl.col("doc_id").is_in(asked)))


def test_a_row_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"doc_id": ["b", "a", "c"]}).write_parquet(path, row_group_size=2)
    assert row_at(path, 2)["doc_id"].to_list() == ["c"]
    with pytest.raises(DataError, match="row 3"):
        row_at(path, 3)


def test_a_lookup_reads_little_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    ids = np.char.mod("%032x", np.arange(600_000, dtype=np.int64) * 3)
    write_keyed(pl.DataFrame({"doc_id": ids, "score": np.arange(600_000) % 7}).sample(fraction=1.0, seed=1), path)
    whole = path.stat().st_size
    assert lookup(path, [f"{3 * 123_456:032x}"], ["score"])["score"].to_list() == [123_456 % 7]
    # Bytes after the row group that is wanted are damaged: a reader that skips them does not mind.
    raw = bytearray(path.read_bytes())
    raw[whole // 2 : whole // 2 + 1000] = bytes(1000)
    path.write_bytes(raw)
    assert lookup(path, [f"{3 * 1_000:032x}"], ["score"])["score"].to_list() == [1_000 % 7]
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(path)
