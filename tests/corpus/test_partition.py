"""The stage that ingests one delivery: what makes it run again, and what does not."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_pipeline.config import Profile, load_profile
from curation_pipeline.corpus.rows import RowBuilder
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.report.corpus_status import corpus_notes
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import partition_sources
from curation_pipeline.steps.corpus import documents
from curation_pipeline.steps.step import of_corpus


@pytest.fixture
def stand_ins(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels and benchmarks without their archives; one text is reserved."""
    for table in ("labels", "benchmarks"):
        lake.build(Recipe(table, {}), lambda draft: draft.frame(pl.DataFrame({"x": [1]})))
    monkeypatch.setattr(documents, "read_benchmarks", lambda lake, manifest: None)
    monkeypatch.setattr(documents, "contamination_keys", lambda items, frame: pl.Series(["areservedtextofabenchmark"]))


def context(lake: Lake, folder: Path, cache: Path) -> Context:
    profile = load_profile("demo").model_dump(mode="json")
    profile["corpus"]["sources"] = [{"kind": "folder", "name": "own", "path": str(folder)}]
    return Context(lake, Profile.model_validate(profile), cache)


def deliver(folder: Path, texts: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "part.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\nbroken\n")


@pytest.mark.usefixtures("stand_ins")
def test_a_delivery_is_made_once_for_its_content(lake: Lake, tmp_path: Path) -> None:
    texts = ["one text", "another text", "one text", "A reserved text of a benchmark, and more."]
    deliver(tmp_path / "in" / "a", texts)
    ctx = context(lake, tmp_path / "in", tmp_path)
    first = documents.STEP.make(ctx, of_corpus("own|a"))
    figures = {name: first.summary[name] for name in ("read", "kept", "duplicates", "quarantined")}
    assert figures == {"read": 5, "kept": 2, "duplicates": 1, "quarantined": 1}
    assert first.summary["excluded_labelled_or_benchmark"] == 1
    assert lake.frame(first).height == 3
    assert lake.frame(first, "quarantine")["reason"].str.contains("JSON").all()
    # The same content, delivered again and elsewhere, is found and not made again.
    deliver(tmp_path / "in" / "a", texts)
    deliver(tmp_path / "moved" / "a", texts)
    assert documents.STEP.make(ctx, of_corpus("own|a")).id == first.id
    assert documents.STEP.make(context(lake, tmp_path / "moved", tmp_path), of_corpus("own|a")).id == first.id
    # Other content is a new artefact, and leaves the other snapshot's alone.
    deliver(tmp_path / "in" / "b", ["a third text"])
    other = documents.STEP.make(ctx, of_corpus("own|b"))
    deliver(tmp_path / "in" / "a", [*texts, "a late text"])
    second = documents.STEP.make(ctx, of_corpus("own|a"))
    assert second.id != first.id
    assert documents.STEP.make(ctx, of_corpus("own|b")).id == other.id
    assert second.summary["kept"] == 3


@pytest.mark.usefixtures("stand_ins")
def test_what_is_left_alone_is_in_the_figures_the_messages_and_the_graph(lake: Lake, tmp_path: Path) -> None:
    import dagster as dg

    from assets.steps import ASSETS

    deliver(tmp_path / "in" / ("\u6570\u636e" * 15), ["one text"])
    (tmp_path / "in" / "notes|1.docx").write_text("x")
    ctx = context(lake, tmp_path / "in", tmp_path)
    (key,) = partition_sources(ctx)
    manifest = documents.STEP.make(ctx, of_corpus(key))
    assert [manifest.summary[name] for name in ("files_seen", "files_read", "files_left_alone")] == [2, 1, 1]
    assert lake.require("documents", manifest.partition).id == manifest.id
    assert "source own: 1 left alone (nothing reads .docx): notes|1.docx" in corpus_notes(ctx)
    project = SimpleNamespace(context=lambda log: ctx)
    found: Any = ASSETS["documents"](dg.build_asset_context(partition_key=key), project, None)
    shown = found.metadata["left_alone"].value
    assert "docx" in shown
    assert "nothing reads" in shown


@pytest.mark.usefixtures("stand_ins")
def test_rows_that_a_file_declares_are_counted_apart_from_those_that_were_met(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = io.BytesIO()
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(30)]}), target, row_group_size=10, compression="gzip")
    raw = bytearray(target.getvalue())
    start = pq.ParquetFile(target).metadata.row_group(1).column(0).dictionary_page_offset
    raw[start : start + 40] = b"\xff" * 40
    folder = tmp_path / "in" / "a"
    folder.mkdir(parents=True)
    (folder / "part.parquet").write_bytes(raw)
    ctx = context(lake, tmp_path / "in", tmp_path)
    figures = documents.STEP.make(ctx, of_corpus("own|a")).summary
    assert (figures["kept"], figures["quarantined"]) == (20, 1)
    assert (figures["declared_by_files"], figures["accounted_for"]) == (30, 30)
    assert documents.adds_up(figures)
    # A reader that passes over a row group and says nothing.
    monkeypatch.setattr(RowBuilder, "fail", lambda self, *args, **more: None)
    folder.rename(tmp_path / "in" / "b")
    figures = documents.STEP.make(ctx, of_corpus("own|b")).summary
    assert figures["read"] == figures["kept"] == 20
    assert not documents.adds_up(figures)
