"""Copies of a bucket's files: the least recently used go, and none that work in progress has asked for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from curation_pipeline.lake.cache import GRACE_SECONDS, Cache
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe

HOUR = 3_600.0


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "work", 1_000)


def bring(cache: Cache, name: str, used: float = 0.0) -> Path:
    """Ask for a file of 300 bytes as if so many seconds ago."""

    def download(target: Path) -> None:
        target.write_bytes(name.encode() * 300)

    path = cache.path(name, download)
    os.utime(path, (time.time() - used,) * 2)
    return path


def names(cache: Cache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def test_the_least_recently_used_copies_go(cache: Cache) -> None:
    for place, name in enumerate("abc"):
        bring(cache, name, (10 - place) * HOUR)
    bring(cache, "a", HOUR)  # used again
    bring(cache, "d", HOUR)
    assert names(cache) == ["a", "c", "d"]
    assert bring(cache, "b", HOUR).read_bytes() == b"b" * 300  # brought again


def test_what_was_used_a_moment_ago_stays(cache: Cache) -> None:
    for name in "abcde":
        bring(cache, name, GRACE_SECONDS / 2)
    assert names(cache) == list("abcde")


def test_what_work_in_progress_has_asked_for_stays(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", tmp_path / "work")
    cache = Cache(tmp_path / "work", 1_000)
    bring(cache, "before", 10 * HOUR)

    def make(draft: object) -> None:
        (lock,) = (tmp_path / "work" / "drafts").glob("*.lock")
        os.utime(lock, (time.time() - 5 * HOUR,) * 2)  # as if the work had begun long ago
        for name in "abcd":
            bring(cache, name, 4 * HOUR)
        assert names(cache) == ["a", "b", "c", "d"]
        draft.json({}, "done")  # type: ignore[attr-defined]

    lake.build(Recipe("t", {}), make)
    bring(cache, "e", HOUR)
    assert names(cache) == ["c", "d", "e"]


def test_a_download_that_fails_leaves_nothing(cache: Cache) -> None:
    def fail(target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("the connection ended")

    with pytest.raises(OSError, match="connection"):
        cache.path("a/b", fail)
    assert not any(path.is_file() for path in cache.folder.rglob("*"))
