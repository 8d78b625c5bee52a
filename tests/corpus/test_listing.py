"""What a source holds: every file is read or named, links stay inside, and no name ends the run."""

from __future__ import annotations

import bz2
import json
import os
import socket
from pathlib import Path

import pytest
import zstandard

from curation_pipeline.corpus import files
from curation_pipeline.corpus.files import opened
from curation_pipeline.corpus.ingest import everything, fingerprint, partitions
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.errors import DataError
from tests.corpus.formats import ingest, warc_rows


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"text": text}) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "in" / "a" / "one.jsonl", "one")
    put(tmp_path / "outside" / "secret.jsonl", "secret")
    return tmp_path / "in"


def read(source: FolderSource) -> dict[str, list[str]]:
    """Texts of every file, which all add up: what is read and what is left alone is all there is."""
    texts: dict[str, list[str]] = {}
    left = 0
    for snapshot in partitions(source, Path()):
        done = ingest(source, snapshot, Path())
        assert done.quarantine.is_empty(), done.quarantine.rows()
        left += done.counts.files_left_alone
        for file, text in done.documents.select("file", "text").iter_rows():
            texts.setdefault(file, []).append(text)
    assert left == len(everything(source).left)
    return texts


def reasons(source: FolderSource) -> dict[str, str]:
    return {entry.name: entry.reason for entry in everything(source).left}


def test_what_can_be_read_is_and_the_rest_is_named_once(folder: Path) -> None:
    (folder / "a" / "a.json").write_text('{"text": "a single object"}')
    (folder / "a" / "B.JSONL.BZ2").write_bytes(bz2.compress(b'{"text": "packed"}\n'))
    (folder / "a" / "c.warc.zst").write_bytes(zstandard.compress(warc_rows(["a page"])[0]))
    for name in ("notes.docx", "two.docx", "x.tar.gz", "README", ".DS_Store", "t.txt", "jsonl"):
        (folder / "a" / name).write_text("x")
    put(folder / "empty" / "deep" / "d.csv.7z", "in no delivery")
    texts = read(FolderSource(name="s", path=folder))
    assert texts == {
        "a/one.jsonl": ["one"],
        "a/a.json": ["a single object"],
        "a/B.JSONL.BZ2": ["packed"],
        "a/c.warc.zst": ["a page"],
    }
    told = everything(FolderSource(name="s", path=folder)).told()
    assert "2 left alone (nothing reads .docx): a/notes.docx, a/two.docx" in told
    assert "1 left alone (nothing reads .tar.gz): a/x.tar.gz" in told
    assert "1 left alone (nothing reads .7z): empty/deep/d.csv.7z" in told
    assert "2 left alone (no ending that tells a format): a/README, a/jsonl" in told
    assert "1 left alone (text_split does not say how text becomes documents): a/t.txt" in told
    only = FolderSource(name="s", path=folder, include=("*.json",))
    assert reasons(only)["a/one.jsonl"] == "no pattern of include matches"
    with pytest.raises(DataError, match=r"no file.*left alone \(nothing reads \.7z\): deep/d\.csv\.7z"):
        partitions(FolderSource(name="s", path=folder / "empty"), folder)


def test_links_are_followed_within_the_source_and_outside_only_where_it_says_so(folder: Path) -> None:
    here = folder / "a"
    put(folder / ".store" / "k" / "ab12", "kept under a hidden name")
    put(folder / "blobs" / "cd34", "kept without an ending")
    for name, target in {
        "leak.jsonl": "../../outside/secret.jsonl",
        "outside": "../../outside",
        "again.jsonl": "one.jsonl",
        "up": "..",
        "hidden.jsonl": "../.store/k/ab12",
        "hidden2.jsonl": "../.store/k/ab12",
        "blob.jsonl": "../blobs/cd34",
        "nowhere.jsonl": "missing.jsonl",
        "self.jsonl": "self.jsonl",
    }.items():
        (here / name).symlink_to(target)
    (folder / "current").symlink_to("a")
    (folder.parent / "link").symlink_to("in")
    within = {
        "a/one.jsonl": ["one"],
        "a/hidden.jsonl": ["kept under a hidden name"],
        "a/blob.jsonl": ["kept without an ending"],
    }
    for path in (folder, folder.parent / "link"):  # the folder that the profile names may be a link itself
        source = FolderSource(name="s", path=path)
        assert read(source) == within
        left = reasons(source)
        assert "outside_links = true" in left["a/leak.jsonl"]
        assert "outside_links = true" in left["a/outside"]
        assert left["a/again.jsonl"] == "read as a/one.jsonl"
        assert left["blobs/cd34"] == "read as a/blob.jsonl"
        assert left["a/up"] == left["current"] == "a link to a folder that is read in its own place"
        assert "leads nowhere" in left["a/nowhere.jsonl"]
        assert "leads nowhere" in left["a/self.jsonl"]
    followed = read(FolderSource(name="s", path=folder, outside_links=True))
    assert followed == within | {"a/leak.jsonl": ["secret"]}


def test_pipes_sockets_and_devices_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "a")  # a socket's path is short
    os.mkfifo("pipe.jsonl")
    (folder / "a" / "zero.jsonl").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jsonl")
        source = FolderSource(name="s", path=folder, outside_links=True)
        assert read(source) == {"a/one.jsonl": ["one"]}
    assert reasons(source) == {
        "a/pipe.jsonl": "a named pipe",
        "a/socket.jsonl": "a socket",
        "a/zero.jsonl": "a device",
    }


def test_what_takes_the_place_of_a_listed_file_is_not_read(folder: Path) -> None:
    for name in ("b", "c", "d"):
        put(folder / "a" / f"{name}.jsonl", name)
    listed = everything(FolderSource(name="s", path=folder)).files
    for name in ("b", "c", "d"):
        (folder / "a" / f"{name}.jsonl").unlink()
    os.mkfifo(folder / "a" / "c.jsonl")
    (folder / "a" / "d.jsonl").symlink_to("../../outside/secret.jsonl")
    problems = {file.name: problem for file, _, problem in opened(listed)}
    assert problems.pop("a/one.jsonl") == ""
    assert {name[:3] for name in problems} == {"a/b", "a/c", "a/d"}
    assert all("cannot be opened" in problem for problem in problems.values())


def test_a_file_that_cannot_be_read_is_one_quarantined_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder / "a" / "two.jsonl", "two")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "file_sha256", refuse)
    source = FolderSource(name="s", path=folder)
    assert fingerprint(source, "a", folder)["a/two.jsonl"] == "unreadable: Permission denied"
    genuine = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: refuse(path) if "two" in path else genuine(path, *rest))
    done = ingest(source, "a", folder)
    assert done.documents["text"].to_list() == ["one"]
    assert done.quarantine.select("file", "reason").rows() == [
        ("a/two.jsonl", "the file cannot be opened: Permission denied")
    ]


def test_a_folder_that_cannot_be_listed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder / "closed" / "x.jsonl", "x")
    genuine = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return genuine(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert reasons(FolderSource(name="s", path=folder)) == {
        "closed/": "a folder that cannot be listed: Permission denied"
    }


def test_no_name_of_a_file_or_folder_ends_the_run(folder: Path) -> None:
    raw = os.fsencode(folder)
    wanted = ["one"]
    for number, name in enumerate(
        [b"caf\xe9", b"caf\\xe9", b"%0A", b"new\nline", b"a|b", b"a...b", "\u6570".encode() * 29, b"-rf", b"x" * 240]
    ):
        (os.makedirs(raw + b"/" + name))
        for place in (name + b"/" + name + b".jsonl", b"a/" + name + b".jsonl"):
            with open(raw + b"/" + place, "w") as stream:
                stream.write(json.dumps({"text": f"{number} {len(place)}"}))
            wanted.append(f"{number} {len(place)}")
    source = FolderSource(name="s", path=folder)
    texts = read(source)
    assert sorted(text for found in texts.values() for text in found) == sorted(wanted)
    assert len(texts) == len(wanted)
    names = partitions(source, folder)
    assert len(names) == 10
    assert {"a", "caf\\xe9", "%0A", "-rf", "\u6570" * 29} <= set(names)
    assert sum(len(fingerprint(source, name, folder)) for name in names) == len(wanted)


def test_folders_of_any_depth_are_walked(folder: Path) -> None:
    deep = [str(folder) + "/d" * depth for depth in range(1, 1_200)]  # deeper than Python calls functions
    for path in deep:
        os.mkdir(path)
    put(Path(deep[-1], "x.jsonl"), "deep")
    try:
        assert read(FolderSource(name="s", path=folder))["d/" * len(deep) + "x.jsonl"] == ["deep"]
    finally:  # pytest could not remove it
        Path(deep[-1], "x.jsonl").unlink()
        for path in reversed(deep):
            os.rmdir(path)


def test_a_saved_data_sets_own_files_are_no_documents(tmp_path: Path) -> None:
    import datasets

    pair = {name: datasets.Dataset.from_dict({"text": [f"{name} text"]}) for name in ("train", "test")}
    datasets.DatasetDict(pair).save_to_disk(str(tmp_path / "saved"))
    source = FolderSource(name="s", path=tmp_path)
    assert sorted(text for found in read(source).values() for text in found) == ["test text", "train text"]
    assert {name.rpartition("/")[2] for name in reasons(source)} == {
        "dataset_dict.json", "dataset_info.json", "state.json",
    }  # fmt: skip
