"""The score cache: nothing twice, nothing lost, nothing invented."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.score_cache import ScoreCache, text_key
from curation_pipeline.errors import DataError, DetectorError
from curation_pipeline.progress import Progress


class Counting:
    """Scores a text by its hash and remembers what it was asked."""

    heads: tuple[str, ...] = ("harm", "other")

    def __init__(self, name: str = "counting", version: str = "1", fail_after: int | None = None) -> None:
        self.name, self.version, self.fail_after = name, version, fail_after
        self.asked: list[str] = []

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        if self.fail_after is not None and len(self.asked) + len(texts) > self.fail_after:
            raise DetectorError("it broke")
        self.asked += texts
        raw = np.array([[text_key(text)[0] / 255, text_key(text)[1] / 255] for text in texts]).reshape(-1, 2)
        return score_frame(raw, self.heads)


def with_cache(folder: Path, detector: Counting, chunk: int = 1024) -> CachedDetector:
    return CachedDetector(detector, ScoreCache(folder, detector), chunk)


@given(st.lists(st.lists(st.text(max_size=6), max_size=20), min_size=1, max_size=4))
def test_cached_scores_are_the_detectors_and_no_text_is_asked_twice(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]]
) -> None:
    plain, behind = Counting(), Counting()
    detector = with_cache(tmp_path_factory.mktemp("cache"), behind, chunk=3)
    for texts in calls:
        assert detector.score(texts).equals(plain.score(texts))
    assert sorted(behind.asked) == sorted({text for texts in calls for text in texts})
    detector.cache.close()


def test_a_failure_in_the_middle_keeps_whole_chunks(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(10)]
    with pytest.raises(DetectorError, match=r"it broke; 6 of 10 new texts are kept in .*counting-.*\.sqlite"):
        with_cache(tmp_path, Counting(fail_after=7), chunk=3).score(texts)
    again = Counting()
    assert with_cache(tmp_path, again).score(texts).equals(Counting().score(texts))
    assert again.asked == texts[6:]


def test_another_version_is_another_file(tmp_path: Path) -> None:
    with_cache(tmp_path, Counting()).score(["a"])
    other = Counting(version="2")
    with_cache(tmp_path, other).score(["a"])
    assert other.asked == ["a"]
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty"])
def test_a_damaged_file_is_set_aside_with_a_warning_and_rebuilt(tmp_path: Path, damage: str) -> None:
    texts = [f"text {i}" for i in range(2000)]
    first = with_cache(tmp_path, Counting())
    first.score(texts)
    path = first.cache.path
    first.cache.close()
    raw = path.read_bytes()
    again = Counting()
    if damage == "empty":  # no damage to SQLite: an empty file is an empty database
        path.write_bytes(b"")
        assert with_cache(tmp_path, again).score(texts).equals(Counting().score(texts))
    else:
        path.write_bytes(b"garbage" * 1000 if damage == "garbage" else raw[: len(raw) // 2 // 4096 * 4096])
        with pytest.warns(UserWarning, match=r"is damaged .* set aside as .*damaged.* scored again"):
            assert with_cache(tmp_path, again).score(texts).equals(Counting().score(texts))
        assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    assert set(again.asked) == set(texts)
    untouched = Counting()
    with_cache(tmp_path, untouched).score(texts)
    assert not untouched.asked


def test_a_row_that_cannot_be_a_score_is_scored_again_and_none_is_let_in(tmp_path: Path) -> None:
    detector = with_cache(tmp_path, Counting())
    detector.score(["a", "b", "c"])
    connection = sqlite3.connect(detector.cache.path)
    bad = [np.array([np.nan, 0], "<f4").tobytes(), np.array([0.1, 7], "<f4").tobytes(), b"abc"]
    for text, blob in zip(("a", "b", "c"), bad, strict=True):
        connection.execute("UPDATE scores SET heads = ? WHERE key = ?", (blob, text_key(text)))
    connection.commit()
    connection.close()
    again = Counting()
    assert with_cache(tmp_path, again).score(["a", "b", "c"]).equals(Counting().score(["a", "b", "c"]))
    assert sorted(again.asked) == ["a", "b", "c"]
    for wrong in (np.array([[0.5, np.nan]]), np.array([[0.5, 1.1]]), np.array([[0.5]])):
        with pytest.raises(DataError):
            detector.cache.put([text_key("d")], wrong)


def _share(cache: ScoreCache, start: int) -> None:
    for first in range(start, start + 300, 7):
        keys = [text_key(f"text {i}") for i in range(first, min(first + 7, start + 300))]
        known, _, _ = cache.get(keys)
        new = [key for key in keys if key not in known]
        cache.put(new, np.array([[round(key[0] / 255, 4), round(key[1] / 255, 4)] for key in new]).reshape(-1, 2))


def test_processes_share_a_file_even_across_a_fork(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path, Counting())
    _share(cache, 150)  # the children inherit an open connection
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_share, args=(cache, start)) for start in (0, 100, 200)]
    for child in children:
        child.start()
    _share(cache, 50)
    for child in children:
        child.join()
        assert child.exitcode == 0
    texts = [f"text {i}" for i in range(500)]
    behind = Counting()
    assert with_cache(tmp_path, behind).score(texts).equals(Counting().score(texts))
    assert not behind.asked
    assert len(cache) == 500
