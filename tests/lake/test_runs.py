"""Rows come back in the order of their key, span by span, whatever the order in which they were appended."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.lake import runs
from curation_pipeline.lake.runs import Span, sorted_runs


@given(
    parts=st.lists(st.lists(st.integers(0, 60), max_size=30), min_size=1, max_size=8),
    step=st.integers(1, 5),
    held=st.integers(1, 2_000),
    rows=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_spans_are_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], step: int, held: int, rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, sorted_runs(tmp_path_factory.mktemp("runs")) as made:
        patch.setattr(runs, "STEP", step)
        patch.setattr(runs, "RUN_BYTES", held)
        patch.setattr(runs, "SHARD_ROWS", rows)
        frames = [
            pl.DataFrame({"doc_id": [f"{key:032x}" for key in part], "part": [number] * len(part)},
                         schema={"doc_id": pl.Utf8, "part": pl.Int64})
            for number, part in enumerate(parts)
        ]  # fmt: skip
        made.extend(frames)
        spans = list(made.merged())
        assert pl.concat(spans).equals(pl.concat(frames).sort("doc_id", maintain_order=True))
        keys = [set(span["doc_id"]) for span in spans]
        assert sum(map(len, keys)) == len(set().union(*keys)), "a key is in one span"


def test_nothing_stays_on_disk(tmp_path: Path) -> None:
    with sorted_runs(tmp_path, "n") as made:
        assert [frame.height for frame in made.merged()] == [0]
        made.append(pl.DataFrame({"n": [2, 1]}))
        assert made.read(Span())["n"].to_list() == [1, 2]
    assert not list(tmp_path.iterdir())
