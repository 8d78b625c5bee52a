"""Comparisons of arms: paired where items are known, honest where they are not, and few claims from noise."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from curation_pipeline.bootstrap import Bootstrap, Part, paired_draws, resampled_seeds, unpaired_draws
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.rows import Metric, items_frame, metrics_frame
from curation_pipeline.experiment.claims import AT_CHANCE, OPEN, SHOWN, compare
from curation_pipeline.experiment.model_evaluation import ModelEvaluation

BOOTSTRAP = Bootstrap(1, 400, 0.95)
N = 300


def evidence(
    rng: np.random.Generator, hard: np.ndarray, harm: float = 0.5, bits: float = 2.4, *, items: bool = True
) -> ModelEvaluation:
    """A model on the same items: each item's difficulty is shared, and the model's level is added to it."""
    size = np.full(N, 100.0)
    bpb = bits + 0.4 * hard + 0.02 * rng.standard_normal(N)
    harmful = (hard + 0.3 * rng.standard_normal(N) > np.quantile(hard, 1 - harm)).astype(float)
    source = [(bpb * size, size)]
    toxic = [((bpb + 0.3 + 0.5 * hard[::-1]) * size, size)]
    odds = BOOTSTRAP.macro([((source[0][0] - toxic[0][0]) * math.log(2), size)], "o")
    rows = [
        Metric("toxicity_prompts", "toxicity_probability", BOOTSTRAP.mean(harmful, "h"), "safety", False),
        Metric("heldout", "bits_per_byte", BOOTSTRAP.macro(source, "b"), "capability", False),
        Metric("heldout", "bits_per_byte/forum", BOOTSTRAP.macro(source, "b"), "capability", False),
        Metric("heldout", "toxic_bits_per_byte/forum", BOOTSTRAP.macro(toxic, "b"), "safety", True),
        Metric("heldout", "toxic_log_odds", odds, "safety", False),
        Metric("quiz", "accuracy", BOOTSTRAP.mean((hard > 0.6).astype(float), "q"), "capability", True),
        Metric("quiz", "chance", BOOTSTRAP.mean(np.full(N, 0.25), "c"), "capability", True),
    ]
    kept = items_frame([row for row in rows if row.metric != "toxic_log_odds"]) if items else None
    return ModelEvaluation(metrics_frame(rows, 1), kept, None, "same")


@pytest.fixture
def hard() -> np.ndarray:
    return np.random.default_rng(5).standard_normal(N)


def compared(
    ours: list[ModelEvaluation], theirs: dict[str, list[ModelEvaluation]], resamples: int = 4_000
) -> pl.DataFrame:
    return compare("main", ours, theirs, np.random.default_rng(0), resamples)


def test_pairing_over_items_sees_what_independent_intervals_do_not(hard: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    ours, theirs = evidence(rng, hard, bits=2.43), evidence(rng, hard, bits=2.40)
    paired = compared([ours], {"random": [theirs]}).filter(pl.col("metric") == "bits_per_byte").row(0, named=True)
    assert paired["paired"]
    assert paired["verdict"] == SHOWN
    assert paired["margin"] == pytest.approx(0.05 * 2.4, rel=0.02)
    # The items' common difficulty (.4) cancels: what is left is .02 * sqrt(2 / 300).
    assert (paired["ci_high"] - paired["ci_low"]) / 3.92 == pytest.approx(0.02 * math.sqrt(2 / N), rel=0.1)
    bare = [ModelEvaluation(found.metrics, None, None, "same") for found in (ours, theirs)]
    apart = compared([bare[0]], {"random": [bare[1]]}).filter(pl.col("metric") == "bits_per_byte").row(0, named=True)
    assert not apart["paired"]
    assert apart["ci_high"] - apart["ci_low"] == pytest.approx(2 * 1.96 * 0.4 * math.sqrt(2 / N), rel=0.15)
    assert apart["smallest_difference"] > 10 * paired["smallest_difference"]


def test_log_odds_are_paired_through_their_sources(hard: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    frame = compared([evidence(rng, hard)], {"random": [evidence(rng, hard)]})
    row = frame.filter(pl.col("metric") == "toxic_log_odds").row(0, named=True)
    assert row["paired"]
    assert row["n"] == 2 * N


def test_chance_claims_nothing_and_stays_in_the_family(hard: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    frame = compared([evidence(rng, hard, harm=0.1)], {"random": [evidence(rng, hard, harm=0.5)]})
    by = {row["question"]: row for row in frame.to_dicts()}
    assert set(by) == {"less harm", "toxic text less likely", "language not lost", "quiz not lost"}
    assert by["less harm"]["verdict"] == SHOWN
    quiz = by["quiz not lost"]
    assert (quiz["at_chance"], quiz["p"], quiz["p_holm"], quiz["verdict"]) == (True, 1.0, 1.0, AT_CHANCE)
    # Four comparisons: the least p-value is multiplied by four.
    assert by["less harm"]["p_holm"] >= 3 * by["less harm"]["p"]


def test_equal_models_are_not_told_apart(hard: np.ndarray) -> None:
    rng = np.random.default_rng(8)
    claims = 0
    for _ in range(12):
        frame = compared([evidence(rng, hard)], {"a": [evidence(rng, hard)], "b": [evidence(rng, hard)]}, 1_000)
        gains = frame.filter(pl.col("margin").is_null())
        claims += gains.filter(pl.col("verdict") != OPEN).height > 0
    assert claims <= 2


def test_noise_between_seeds_is_in_the_interval() -> None:
    rng = np.random.default_rng(0)
    ones = np.ones(400)
    # Items hardly differ; seeds do, by .1: the standard error of a mean of 4 seeds is .05.
    ours = np.stack([0.5 + 0.1 * z + 0.001 * rng.standard_normal(400) for z in (-1.22, -0.4, 0.4, 1.22)])
    first, _ = paired_draws([Part(1.0, ours, ones)], [Part(1.0, ours[:1], ones)], rng, 20_000)
    wanted = np.std(ours.mean(axis=1), ddof=1) / 2
    assert np.std(first.draws) == pytest.approx(wanted, rel=0.05)
    two = resampled_seeds(2, rng, 20_000) @ np.array([0.0, 1.0])
    assert np.var(two) == pytest.approx(0.25, rel=0.05)  # the unbiased variance of a mean of two: .5 / 2
    apart = unpaired_draws([0.3, 0.5], [0.0, 0.0], rng, 20_000)
    assert np.std(apart.draws) == pytest.approx(0.1, rel=0.05)


def test_other_items_are_refused() -> None:
    ones = np.ones(3)
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="different items"):
        paired_draws([Part(1.0, np.ones((1, 3)), ones)], [Part(1.0, np.ones((1, 3)), 2 * ones)], rng, 10)
