"""Deliveries cut into parts: what is read is what one process reads of whole files."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.corpus import parts
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.engine.settings import ONE_PROCESS, EngineSettings
from tests.corpus.formats import Ingested, ingest

MARKED = "".join(json.dumps({"text": f"wide text {i}"}) + "\n" for i in range(400)).encode("utf-16")


@pytest.fixture
def delivery(tmp_path: Path) -> FolderSource:
    """A large file with bad lines, a wide one, a large one of another format, an archive, and many small ones."""
    folder = tmp_path / "s" / "a"
    folder.mkdir(parents=True)
    draw = random.Random(1)
    lines = [json.dumps({"text": f"text {i} " + "x" * draw.randrange(120)}).encode() for i in range(900)]
    for place in range(7, 900, 90):
        lines[place] = draw.choice([b"", b"{", b'{"text": 3}', b"\xff\xfe", b'{"text": "' + b"y" * 5_000 + b'"}'])
    (folder / "b.jsonl").write_bytes(b"\n".join(lines))  # its last line has no line feed
    (folder / "c.jsonl").write_bytes(MARKED)
    pl.DataFrame({"text": [f"row {i}" for i in range(5_000)]}).write_parquet(folder / "d.parquet")
    with zipfile.ZipFile(folder / "e.zip", "w") as archive:
        for member in range(5):
            archive.writestr(f"{member}.jsonl", b"\n".join(lines[member::50]))
    for number in range(40):
        (folder / f"f{number:02}.jsonl").write_bytes(lines[number] + b"\n" + lines[0] + b"\n")
    return FolderSource(name="s", path=tmp_path / "s", max_document_bytes=2_000)


def same(one: Ingested, other: Ingested) -> bool:
    return (
        one.documents.equals(other.documents) and one.quarantine.equals(other.quarantine) and one.counts == other.counts
    )


@pytest.mark.parametrize("n_bytes", [700, 5_000, 30_000])
@pytest.mark.parametrize("limit", [None, 300])
def test_parts_of_any_size_give_the_same_rows(
    delivery: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int, limit: int | None
) -> None:
    source = delivery.model_copy(update={"limit": limit})
    whole = ingest(source, "a", tmp_path)
    monkeypatch.setattr(parts, "PART_BYTES", n_bytes)
    monkeypatch.setattr(parts, "PART_FILES", 7)
    assert same(ingest(source, "a", tmp_path), whole)
    assert whole.counts.quarantined > 5


def test_a_large_file_is_cut_behind_its_lines(delivery: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 5_000)
    found = delivery.listing().of("a").files
    spans = [files[0] for files, _ in parts._parts(found, delivery) if files[0].span is not None]
    assert "a/c.jsonl" not in {file.name for file in spans}  # it begins with a mark of UTF-16, and is read whole
    cut = [file for file in spans if file.name == "a/b.jsonl"]
    data = (Path(delivery.path) / "a" / "b.jsonl").read_bytes()
    pieces = []
    for file in cut:
        with file.open() as stream:
            pieces.append(stream.read())
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert all(5_000 <= len(piece) < 12_000 for piece in pieces[:-1])


@pytest.mark.slow
def test_several_workers_read_what_one_reads(delivery: FolderSource, tmp_path: Path) -> None:
    for copy in range(60):  # more than one part at the real size
        (Path(delivery.path) / "a" / f"g{copy}.jsonl").write_bytes(json.dumps({"text": "z" * 1_000_000}).encode())
    source = delivery.model_copy(update={"max_document_bytes": 2_000_000})
    assert same(
        ingest(source, "a", tmp_path, engine=EngineSettings(workers=2)),
        ingest(source, "a", tmp_path, engine=ONE_PROCESS),
    )
