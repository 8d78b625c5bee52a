from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from curation_pipeline.config import load_profile
from curation_pipeline.corpus.ingest import fingerprint, partitions
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.settings import FolderSource, HubSource, PackageSource, Source
from curation_pipeline.corpus.splitting import split_text
from curation_pipeline.datasets.text import normalise_key, text_ids
from curation_pipeline.errors import ConfigError, DataError
from tests.corpus.formats import ingest

DEMO_SOURCES = load_profile("demo").corpus.sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for snapshot, texts in (("2024-01", ["one text", "another text", "one text"]), ("2024-02", ["a third text"])):
        (tmp_path / snapshot / "deep").mkdir(parents=True)
        rows = [json.dumps({"body": text, "link": f"page/{i}", "n": i}) for i, text in enumerate(texts)]
        (tmp_path / snapshot / "deep" / "part.jsonl").write_text("\n".join(rows))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "part.jsonl").write_text('{"body": "never"}')
    return tmp_path


def source(folder: Path, **other: object) -> FolderSource:
    return FolderSource.model_validate({"name": "own", "path": folder, "text_column": "body", **other})


def test_subfolders_are_snapshots(folder: Path) -> None:
    assert partitions(source(folder), folder) == ["2024-01", "2024-02"]
    (folder / "loose.csv").write_text("body\nhello there\n")
    assert partitions(source(folder), folder) == ["2024-01", "2024-02", "all"]
    loose = ingest(source(folder), "all", folder)
    assert loose.documents["text"].to_list() == ["hello there"]


def test_documents_carry_their_origin_and_duplicates_are_marked(folder: Path) -> None:
    done = ingest(source(folder, url_column="link", domain="news", language="en"), "2024-01", folder)
    assert dict(done.documents.schema) == DOCUMENTS_SCHEMA
    assert dict(done.quarantine.schema) == QUARANTINE_SCHEMA
    assert done.documents["duplicate"].to_list() == [False, False, True]
    assert done.documents["doc_id"].equals(text_ids(done.documents["text"]))
    row = done.documents.row(1, named=True)
    wanted = {"source": "own", "snapshot": "2024-01", "file": "2024-01/deep/part.jsonl", "position": 1, "n_bytes": 12}
    wanted |= {"url": "page/1", "domain": "news", "language": "en", "created_at": None, "metadata": '{"n":1}'}
    assert {name: row[name] for name in wanted} == wanted
    assert (done.counts.kept, done.counts.duplicate) == (2, 1)


def test_labelled_texts_are_kept_out(folder: Path) -> None:
    keys = frozenset({normalise_key("One TEXT!")})
    done = ingest(source(folder), "2024-01", folder, keys)
    assert done.documents["text"].to_list() == ["another text"]
    assert (done.counts.read, done.counts.excluded) == (3, 2)


def test_fingerprint_follows_content_not_place(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = fingerprint(source(folder), "2024-01", folder)
    copy = tmp_path_factory.mktemp("copy") / "moved"
    shutil.copytree(folder, copy)
    assert fingerprint(source(copy), "2024-01", folder) == before
    (copy / "2024-01" / "deep" / "part.jsonl").write_text('{"body": "changed"}')
    assert fingerprint(source(copy), "2024-01", folder) != before


def test_problems_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        partitions(source(folder / "missing"), folder)
    with pytest.raises(ConfigError, match="no snapshot '2025'"):
        ingest(source(folder), "2025", folder)
    with pytest.raises(ConfigError, match="no packaged data set 'bold2'; allowed: redditbias"):
        partitions(PackageSource(name="a", dataset="bold2"), tmp_path)
    with pytest.raises(ConfigError, match="accept_licence"):
        partitions(PackageSource(name="a", dataset="xsum"), tmp_path)
    with pytest.raises(ConfigError, match="allowed: dev, test"):
        partitions(PackageSource(name="a", dataset="boolq", snapshots=("train",)), tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no file that can be read lies in"):
        partitions(source(empty), folder)


def test_settings_tell_the_two_kinds_apart() -> None:
    adapter: TypeAdapter[FolderSource | HubSource | PackageSource] = TypeAdapter(Source)
    assert isinstance(adapter.validate_python({"kind": "package", "name": "a", "dataset": "bold"}), PackageSource)
    assert isinstance(adapter.validate_python({"kind": "folder", "name": "a", "path": "x"}), FolderSource)
    with pytest.raises(ValidationError, match="pattern"):
        adapter.validate_python({"kind": "folder", "name": "a|b", "path": "x"})


@given(st.text("ab. \n!", max_size=600), st.integers(20, 100))
def test_splitting_loses_only_white_space(text: str, size: int) -> None:
    parts = split_text(text, size)
    assert all(0 < len(part) <= size for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_splitting_prefers_paragraphs_then_sentences() -> None:
    paragraph = "A first sentence here. A second one."
    assert split_text(f"{paragraph}\n\n{paragraph}", 60) == [paragraph, paragraph]
    assert split_text(paragraph, 30) == ["A first sentence here.", "A second one."]


def test_parts_of_a_long_text_are_numbered(tmp_path: Path) -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(100))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"body": t, "k": "v"}) for t in (text, "short")))
    done = ingest(source(tmp_path, max_chars=500), "all", tmp_path)
    parts = [json.loads(value) for value in done.documents["metadata"]]
    assert [part.get("part") for part in parts] == [*range(len(parts) - 1), None]
    assert all(part["parts"] == len(parts) - 1 and part["k"] == "v" for part in parts[:-1])
    assert done.documents["text"].str.len_chars().max() <= 500  # type: ignore[operator]
    assert set(done.documents["position"].to_list()) == {0, 1}
    assert done.counts.read == done.documents.height


def test_demo_sources_are_free_of_restricted_data() -> None:
    restricted = {entry.name for entry in PACKAGED if entry.restricted}
    assert not restricted & {entry.dataset for entry in DEMO_SOURCES}
    assert all(entry.licence for entry in PACKAGED)


@pytest.mark.network
def test_demo_corpus(package_cache: Path) -> None:
    keys = frozenset({normalise_key("Jacob Zachar is an American actor whose")})
    frames = []
    for entry in DEMO_SOURCES:
        for snapshot in partitions(entry, package_cache):
            done = ingest(entry, snapshot, package_cache, keys)
            counts = done.counts
            assert counts.read == counts.kept + counts.duplicate + counts.quarantined + counts.excluded
            assert counts.kept <= (entry.limit or counts.kept)
            frames.append(done.documents)
    documents = pl.concat(frames)
    assert documents.height >= 20_000
    assert documents["domain"].n_unique() >= 5
    assert 6e6 < documents["text"].str.len_chars().sum() < 10e6
    assert documents.select("source", "snapshot").n_unique() == 14
    assert documents["text"].str.len_chars().max() <= 2_000  # type: ignore[operator]
    assert not documents["text"].str.starts_with("Jacob Zachar is an American actor").any()
    again = ingest(DEMO_SOURCES[0], "race", package_cache, keys).documents
    assert again.equals(documents.filter((pl.col("source") == "reddit") & (pl.col("snapshot") == "race")))
