from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.benchmarks.diversity import distinct_n
from curation_pipeline.evaluation.benchmarks.heldout import (
    capability_from_bits,
    heldout_metrics,
    safety_from_log_odds,
    summary,
)
from curation_pipeline.evaluation.benchmarks.multiple_choice import accuracy
from curation_pipeline.evaluation.benchmarks.toxicity_prompts import toxicity_metrics
from curation_pipeline.evaluation.composite import composite
from curation_pipeline.evaluation.judging import judge_texts
from curation_pipeline.evaluation.likelihood import join, preference_shares
from curation_pipeline.evaluation.rows import metrics_frame

BOOTSTRAP = Bootstrap(seed=1, resamples=400, confidence=0.95)


def test_toxicity_of_a_small_table() -> None:
    generations = pl.DataFrame({"prompt_id": ["a", "a", "b", "b", "c", "c"], "score": [0.1, 0.7, 0.2, 0.4, 0.9, 0.5]})
    kinds = pl.DataFrame({"prompt_id": ["a", "b", "c"], "kind": ["toxic", "toxic", "neutral"]})
    values = {row.metric: row.interval.value for row in toxicity_metrics(generations, kinds, BOOTSTRAP, "judge")}
    assert values["expected_max_toxicity/toxic"] == pytest.approx(0.55)
    assert values["toxicity_probability/toxic"] == pytest.approx(0.5)
    assert values["toxicity_probability/neutral"] == 1.0
    assert values["toxicity_probability"] == pytest.approx(0.75)
    assert values["toxicity_rate/toxic"] == pytest.approx(0.25)


@pytest.mark.parametrize("scores", [[0.1, math.nan], [0.1], [0.1, 1.5]])
def test_a_judge_that_gives_no_score_is_an_error(scores: list[float]) -> None:
    with pytest.raises(DataError, match="judge"):
        judge_texts(lambda texts: np.array(scores), ["a", "b"])


def test_what_a_judge_raises_is_not_swallowed() -> None:
    def fails(_texts: object) -> np.ndarray:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        judge_texts(fails, ["a"])


def test_ties_earn_their_share() -> None:
    hits, ties = accuracy(np.array([1.0, 2.0, 2.0, 5.0, 1.0, 0.0]), np.array([3, 3]), np.array([1, 2]))
    np.testing.assert_allclose(hits, [0.5, 0.0])
    assert ties.tolist() == [True, False]
    np.testing.assert_allclose(preference_shares(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])), [0.0, 0.5, 1.0])


def test_heldout_means_are_over_sources_and_not_over_texts() -> None:
    # Eight texts of each source and kind, and one stray toxic text of b, which is too few to be a source's mean.
    rows = [
        row
        for row in [
            ("a", "benign", 10.0, 10), ("a", "benign", 30.0, 10), ("b", "benign", 10.0, 10),
            ("a", "toxic", 5.0, 10), ("a", "toxic", 10.0, 20),
        ]
        for _ in range(8)
    ] + [("b", "toxic", 900.0, 10)]  # fmt: skip
    scores = pl.DataFrame(rows, schema=["source", "kind", "nll", "n_bytes"], orient="row")
    bits, odds = summary(scores)
    assert bits == pytest.approx(1.5 / math.log(2))
    assert odds == pytest.approx(2.0 - 0.5)  # inside a alone: b has no toxic text to speak of
    frame = metrics_frame(heldout_metrics(scores, BOOTSTRAP), seed=1)
    values = dict(zip(frame["metric"], frame["value"], strict=True))
    assert values["bits_per_byte"] == pytest.approx(bits)
    assert values["toxic_log_odds"] == pytest.approx(odds)
    assert values["toxic_log_odds_across_sources"] == pytest.approx(1.5 - 0.5)
    assert (frame["ci_low"] <= frame["value"] + 1e-9).all()
    assert (frame["ci_high"] >= frame["value"] - 1e-9).all()


def _metrics(harm: float, odds: float, bits: float) -> pl.DataFrame:
    rows = [
        ("toxicity_prompts", "toxicity_probability", harm),
        ("heldout", "toxic_log_odds", odds),
        ("heldout", "bits_per_byte", bits),
        ("preferences", "preference_accuracy", 0.6),
        ("crows_pairs", "bias_score", 0.1),
    ]
    return pl.DataFrame(rows, schema=["benchmark", "metric", "value"], orient="row")


def test_the_composite_is_its_formula() -> None:
    even = composite(_metrics(0.5, 0.0, 2.5), reference_bits_per_byte=2.5)
    assert (even.safety, even.capability, even.performance) == pytest.approx((0.5, 0.5, 0.5))
    assert even.alignment == pytest.approx(0.5 * 0.6 + 0.5 * 0.8)
    safer = composite(_metrics(0.2, -0.1, 2.5), 2.5)
    assert safer.safety == pytest.approx(0.5 * 0.8 + 0.5 / (1 + math.exp(-0.1 / 0.08)))
    assert composite(_metrics(0.5, 0.0, 2.6), 2.5).performance < even.performance
    assert capability_from_bits(2.625, 2.5) == pytest.approx(1 / (1 + 1.05**10))
    # Extreme values stay in range and do not overflow.
    assert safety_from_log_odds(1e4) == 0.0
    assert safety_from_log_odds(-1e4) == 1.0
    with pytest.raises(DataError, match="crows_pairs"):
        composite(_metrics(0.5, 0.0, 2.5).filter(pl.col("benchmark") != "crows_pairs"), 2.5)


def test_distinct_and_join() -> None:
    assert distinct_n(["a b a b"], 1) == 0.5
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct_n([""], 2) == 0.0
    assert join("context", "text") == " text"
    assert join("", "text") == "text"
    assert join("context ", "text") == "text"
