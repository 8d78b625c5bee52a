"""Members of ZIP archives are read like files, and nothing of an archive is lost in silence."""

from __future__ import annotations

import gzip
import io
import json
import stat
import zipfile
from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.corpus.ingest import everything
from curation_pipeline.corpus.settings import FolderSource
from tests.corpus.formats import Ingested, ingest


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as stream:
        for name, raw in members.items():
            stream.writestr(name, raw)
    return target.getvalue()


def ingested(folder: Path, raw: bytes, **settings: object) -> Ingested:
    (folder / "A.ZIP").write_bytes(raw)
    (folder / "z.jsonl").write_bytes(lines("a neighbour"))
    return ingest(FolderSource.model_validate({"name": "s", "path": folder, **settings}), "all", folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_are_read_by_their_names(tmp_path: Path, method: int) -> None:
    table = io.BytesIO()
    pl.DataFrame({"text": ["in parquet"]}).write_parquet(table)
    members = {
        "deep/a.jsonl": lines("one", "two"),
        "b.CSV": b"text\nin csv\n",
        "c.json.gz": gzip.compress(b'[{"text": "packed twice"}]'),
        "d.parquet": table.getvalue(),
    }
    done = ingested(tmp_path, archive(members, method))
    assert done.quarantine.is_empty()
    assert done.documents.select("file", "text").rows() == [
        ("A.ZIP/b.CSV", "in csv"),
        ("A.ZIP/c.json.gz", "packed twice"),
        ("A.ZIP/d.parquet", "in parquet"),
        ("A.ZIP/deep/a.jsonl", "one"),
        ("A.ZIP/deep/a.jsonl", "two"),
        ("z.jsonl", "a neighbour"),
    ]


def test_members_left_alone_are_named(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as stream:
        for name in ("../up.jsonl", "/etc/a.jsonl", "C:/a.jsonl", "a\\..\\b.jsonl", "in.zip", "a.docx", "__MACOSX/._a"):
            stream.writestr(name, "x")
        link = zipfile.ZipInfo("link.jsonl")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        stream.writestr(link, "/etc/passwd")
        stream.mkdir("folder")
        stream.writestr("good.jsonl", lines("good"))
    raw = bytearray(target.getvalue())
    done = ingested(tmp_path, bytes(raw))
    assert done.documents["text"].to_list() == ["good", "a neighbour"]
    left = {entry.name: entry.reason for entry in everything(FolderSource(name="s", path=tmp_path)).left}
    assert left == {
        "A.ZIP/../up.jsonl": "a member whose name leads out of its archive",
        "A.ZIP//etc/a.jsonl": "a member whose name leads out of its archive",
        "A.ZIP/C:/a.jsonl": "a member whose name leads out of its archive",
        "A.ZIP/a\\..\\b.jsonl": "a member whose name leads out of its archive",
        "A.ZIP/in.zip": "an archive in an archive",
        "A.ZIP/a.docx": "nothing reads .docx",
        "A.ZIP/__MACOSX/._a": "hidden",
        "A.ZIP/link.jsonl": "a link in an archive",
    }
    assert (done.counts.files_read, done.counts.files_left_alone) == (2, 8)


@pytest.mark.parametrize(("flag", "method", "reason"), [(1, 8, "encrypted"), (0, 99, "method 99")])
def test_members_that_cannot_be_unpacked_are_left_alone(tmp_path: Path, flag: int, method: int, reason: str) -> None:
    raw = bytearray(archive({"a.jsonl": lines("one"), "b.jsonl": lines("two")}))
    at = raw.index(b"PK\1\2")  # of the first member in the table of contents
    raw[at + 8] |= flag
    raw[at + 10] = method
    done = ingested(tmp_path, bytes(raw))
    assert done.documents["text"].to_list() == ["two", "a neighbour"]
    (left,) = everything(FolderSource(name="s", path=tmp_path)).left
    assert reason in left.reason


def test_damage_costs_its_member_from_there_on(tmp_path: Path) -> None:
    texts = [f"row {i} {i * 7919 % 104729}" for i in range(5_000)]
    raw = bytearray(archive({"a.jsonl": lines(*texts), "b.jsonl": lines("sound")}))
    raw[20_000:20_010] = bytes(10)
    done = ingested(tmp_path, bytes(raw))
    read = done.documents.filter(pl.col("file") == "A.ZIP/a.jsonl")["text"].to_list()
    assert 1_000 < len(read) < 5_000
    assert "sound" in done.documents["text"].to_list()
    assert done.quarantine["reason"].str.contains("damaged member").any()
    assert done.quarantine["file"].unique().to_list() == ["A.ZIP/a.jsonl"]


def test_an_archive_without_contents_is_one_quarantined_row(tmp_path: Path) -> None:
    raw = archive({"a.jsonl": lines("one")})
    for broken in (raw[:-5], b"no archive", b""):
        done = ingested(tmp_path, broken)
        assert done.documents["text"].to_list() == ["a neighbour"]
        assert done.quarantine.select("file").rows() == [("A.ZIP",)]
        assert "not a readable ZIP archive" in done.quarantine["reason"][0]


def test_the_members_of_an_archive_share_its_limits(tmp_path: Path) -> None:
    members = {f"{i}.txt": b"word " * 100_000 for i in range(5)}
    done = ingested(tmp_path, archive(members), max_unpacked_bytes=1_200_000, text_split="file")
    assert done.documents["file"].to_list() == ["A.ZIP/0.txt", "A.ZIP/1.txt", "z.jsonl"]
    assert done.quarantine["reason"].str.contains("max_unpacked_bytes = 1200000").sum() == 3


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    raw = archive({f"{i}.jsonl": lines("word " * 10_000) for i in range(9)})
    first = raw.index(b"PK\1\2")
    entries = bytearray(raw[first:])
    at = 0
    while (at := entries.find(b"PK\1\2", at)) >= 0:
        entries[at + 42 : at + 46] = bytes(4)  # every member lies where the first one does
        at += 4
    local = raw[: raw.index(b"PK\3\4", 4)]
    entries[entries.index(b"PK\5\6") + 16 :][:4] = b""
    end = entries.index(b"PK\5\6")
    entries[end + 16 : end + 20] = len(local).to_bytes(4, "little")
    done = ingested(tmp_path, local + bytes(entries))
    assert done.documents["text"].to_list() == ["a neighbour"]
    assert done.quarantine.height >= 1
