"""Windows over long texts: every word is seen, short texts are left alone, memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.detectors import windows as module
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.token_windows import batches
from curation_pipeline.annotate.detectors.windows import WindowedDetector, windows
from curation_pipeline.errors import ConfigError
from curation_pipeline.progress import Progress


@dataclass
class Share:
    """Share of words that are "idiot", and of those that are "fool"; remembers how much it was asked at once."""

    name: str = "share"
    version: str = "1"
    heads: tuple[str, ...] = ("idiots", "fools")
    asked: list[int] = field(default_factory=list)
    longest: int = 0

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        assert texts, "asked about nothing"
        self.asked.append(sum(map(len, texts)))
        self.longest = max(self.longest, *(len(text) for text in texts))
        words = [text.split() for text in texts]
        counts = [[part.count(word) / max(len(part), 1) for word in ("idiot", "fool")] for part in words]
        return score_frame(np.array(counts), self.heads)


@given(
    n=st.integers(0, 300),
    words=st.integers(1, 40),
    data=st.data(),
    gap=st.sampled_from([" ", "\n\n", " \t "]),
)
def test_every_run_of_words_stands_in_a_window(n: int, words: int, data: st.DataObject, gap: str) -> None:
    overlap = data.draw(st.integers(0, words - 1))
    text = gap.join(f"w{i}" for i in range(n))
    found = [window.split() for window in windows(text, words, overlap)]
    if n <= words:
        assert list(windows(text, words, overlap)) == [text]
        return
    assert all(len(window) == words for window in found)
    seen = {tuple(window[i : i + overlap + 1]) for window in found for i in range(words - overlap)}
    every = [f"w{i}" for i in range(n)]
    assert all(tuple(every[i : i + overlap + 1]) in seen for i in range(n - overlap))
    assert len(found) <= 1 + -(-(n - words) // (words - overlap))


def test_harm_anywhere_counts_and_short_texts_are_left_alone() -> None:
    plain, short = Share(), ["", "idiot", "you idiot fool", " a  b\n idiot "]
    windowed = WindowedDetector(plain, words=10, overlap=4)
    assert windowed.heads == ("idiots", "fools", "idiots_mean")
    long = "nice day " * 50 + "idiot idiot fool"
    scores = windowed.score([*short, long])
    assert scores.head(4).drop("idiots_mean").equals(plain.score(short))
    assert scores.head(4)["idiots_mean"].equals(scores.head(4)["idiots"].alias("idiots_mean"))
    assert scores["idiots"][4] == pytest.approx(0.2)
    assert scores["fools"][4] == pytest.approx(0.1)
    found = [plain.score([part])["idiots"][0] for part in windows(long, 10, 4)]
    assert scores["idiots_mean"][4] == pytest.approx(np.mean(found), abs=1e-4)
    assert windowed.score([]).schema == scores.schema


def test_a_row_depends_on_its_own_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["idiot", "fool", "day", "nice"], rng.integers(0, 90))) for _ in range(60)]
    windowed = WindowedDetector(Share(), words=12, overlap=5)
    together = windowed.score(texts)
    assert pl.concat([windowed.score([text]) for text in texts]).equals(together)
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 200)
    assert windowed.score(texts[::-1]).reverse().equals(together)


def test_a_megabyte_is_scored_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 100_000)
    plain = Share()
    texts = ["nice day " * 120_000 + "idiot", "x" * 1_000_000, "idiot"]
    scores = WindowedDetector(plain, words=200, overlap=50).score(texts)
    assert max(plain.asked) < 100_000 + 200 * 65
    assert plain.longest <= 200 * 65
    assert scores["idiots"].to_list() == pytest.approx([1 / 200, 0.0, 1.0])


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot share 10"):
        WindowedDetector(Share(), words=10, overlap=10)
    with pytest.raises(ConfigError, match="itself"):
        WindowedDetector(WindowedDetector(Share(), 10, 2), 10, 2)


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 3000))
def test_batches_hold_every_window_once_and_no_more_tokens_than_allowed(lengths: list[int], tokens: int) -> None:
    ordered = np.sort(np.array(lengths, dtype=np.int64))
    ranges = list(batches(ordered, tokens))
    assert [i for begin, end in ranges for i in range(begin, end)] == list(range(len(ordered)))
    assert all(end - begin == 1 or (end - begin) * ordered[end - 1] <= tokens for begin, end in ranges)
