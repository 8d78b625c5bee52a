"""Annotating a partition piece by piece gives what annotating it whole gives."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.config import load_profile
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.steps import annotator
from tests.e2e.conftest import TINY
from tests.stages.sources import make

SENTENCES = [
    "The harbour was rebuilt in 1821.",
    "Write to a.b@example.org today!",
    "Ja, das ist gut so.",
    "x",
    "",
    "日本語。",
]


def context(folder: Path, rows: int) -> Context:
    texts = [SENTENCES[i % 6] + " " + " ".join(SENTENCES[(i * j) % 6] for j in range(i % 5)) for i in range(rows)]
    frame = pl.DataFrame(
        {"doc_id": [f"{i:032x}" for i in range(rows)], "text": texts}, schema_overrides={"text": pl.Utf8}
    )
    frame = frame.with_columns(
        source=pl.lit("s"), snapshot=pl.lit("a"), duplicate=pl.int_range(pl.len()) % 7 == 3, n_bytes=pl.lit(9)
    )
    missing = [pl.lit(None, kind).alias(name) for name, kind in DOCUMENTS_SCHEMA.items() if name not in frame.columns]
    documents = frame.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in DOCUMENTS_SCHEMA.items())
    lake = Lake.open(folder)

    def write_documents(draft: Draft) -> None:
        with draft.writer(DOCUMENTS_SCHEMA) as write:
            for start in range(0, rows, 40):
                write(documents[start : start + 40])

    lake.build(Recipe("documents", {"source": "s", "snapshot": "a"}, (), {}, 0, "1"), write_documents)
    return Context(lake, load_profile(str(TINY)), folder)


@pytest.mark.parametrize("table", ["text_statistics", "quality_rules", "language", "pii", "minhash"])
def test_chunks_do_not_change_an_annotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    whole = context(tmp_path / "whole", 100)
    expected = whole.lake.frame(make(whole, table, "s|a"))
    assert expected.height == 100 - 14  # repeated documents are annotated once
    monkeypatch.setattr(annotator, "CHUNK", 13)
    pieces = context(tmp_path / "pieces", 100)
    manifest = make(pieces, table, "s|a")
    assert pieces.lake.frame(manifest).equals(expected)
    means = {name.removeprefix("mean_"): value for name, value in manifest.summary.items()}
    numbers = expected.select(pl.selectors.numeric(), pl.selectors.boolean()).columns
    assert means == pytest.approx({name: expected[name].cast(pl.Float64).mean() for name in numbers}, abs=1e-4)


@pytest.mark.parametrize("table", ["text_statistics", "quality_rules", "language", "pii", "minhash"])
def test_an_empty_partition_has_every_column(tmp_path: Path, table: str) -> None:
    full, empty = context(tmp_path / "full", 8), context(tmp_path / "empty", 0)
    schemas = [c.lake.frame(make(c, table, "s|a")).schema for c in (full, empty)]
    assert schemas[0] == schemas[1]
