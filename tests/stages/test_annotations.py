"""Annotating a partition piece by piece gives what annotating it whole gives."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.config import load_profile
from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import Context
from curation_pipeline.steps import annotator
from tests.e2e.conftest import TINY
from tests.stages.sources import make, stand_in_documents

SENTENCES = [
    "The harbour was rebuilt in 1821.",
    "Write to a.b@example.org today!",
    "Ja, das ist gut so.",
    "x",
    "",
    "日本語。",
]


def context(folder: Path, rows: int, workers: int = 1) -> Context:
    texts = [SENTENCES[i % 6] + " " + " ".join(SENTENCES[(i * j) % 6] for j in range(i % 5)) for i in range(rows)]
    lake = Lake.open(folder)
    stand_in_documents(lake, "s|a", texts)
    profile = load_profile(str(TINY))
    return Context(lake, profile.model_copy(update={"engine": EngineSettings(workers=workers)}), folder)


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


@pytest.mark.parametrize("table", ["minhash", "pii"])
def test_processes_do_not_change_an_annotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    monkeypatch.setattr(annotator, "CHUNK", 13)
    one, several = (make(context(tmp_path / str(workers), 100, workers), table, "s|a") for workers in (1, 2))
    assert (several.id, several.content_hash) == (one.id, one.content_hash)
