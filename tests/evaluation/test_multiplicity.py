"""Holm, the two one-sided tests, power and chance against numbers by hand and by simulation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.chance import with_chance
from curation_pipeline.evaluation.multiplicity import holm, non_inferiority_p, smallest_difference
from curation_pipeline.evaluation.rows import METRICS_SCHEMA, Metric, items_frame, metrics_frame


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last may not be below its predecessor.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.9, 1.0]), [1.0, 1.0, 1.0])
    assert holm([]).size == 0
    with pytest.raises(DataError):
        holm([0.1, np.nan])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    rejected = set()
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] * (len(p) - step) > 0.05:
            break
        rejected.add(index)
    assert {i for i, value in enumerate(holm(p)) if value <= 0.05} == rejected


def test_holm_holds_the_chance_of_any_false_claim() -> None:
    rng = np.random.default_rng(0)
    # Ten true null hypotheses that share half of their noise.
    z = np.sqrt(0.5) * rng.standard_normal((4_000, 10)) + np.sqrt(0.5) * rng.standard_normal((4_000, 1))
    p = 2 * norm.sf(np.abs(z))
    assert np.mean([(holm(row) < 0.05).any() for row in p]) < 0.055
    assert (p < 0.05).any(axis=1).mean() > 0.2  # without the correction


def test_non_inferiority_needs_the_whole_margin() -> None:
    rng = np.random.default_rng(1)
    theirs = 2.4 + 0.01 * rng.standard_normal(20_000)
    ours = theirs + 0.06 + 0.01 * rng.standard_normal(20_000)
    # Bits per byte: 2.5% worse, and a loss of 5% is 1.05 * 2.4 - 2.46 = .06 away: 6 standard errors.
    assert non_inferiority_p(ours, theirs, 0.05, higher=False) == pytest.approx(1 / 20_001)
    # At the margin itself nothing is shown, and beyond it the opposite.
    at = non_inferiority_p(theirs * 1.05 + 0.01 * rng.standard_normal(20_000), theirs, 0.05, higher=False)
    assert at == pytest.approx(0.5, abs=0.02)
    assert non_inferiority_p(ours + 0.1, theirs, 0.05, higher=False) > 0.99
    # An accuracy above chance, by the normal approximation: (.145 - .95 * .15) / .004 standard errors.
    gain = 0.145 + 0.004 * rng.standard_normal(200_000)
    found = non_inferiority_p(gain, np.full(200_000, 0.15), 0.05)
    assert found == pytest.approx(norm.sf((0.145 - 0.1425) / 0.004), abs=0.004)


def test_the_smallest_difference_is_found_with_its_power() -> None:
    found = smallest_difference(0.04, 0.05)
    assert found == pytest.approx(2.8016 * 0.04, rel=1e-4)  # 1.95996 + .84162
    draws = found + 0.04 * np.random.default_rng(2).standard_normal(50_000)
    assert np.mean(np.abs(draws) > 1.96 * 0.04) == pytest.approx(0.8, abs=0.01)
    assert smallest_difference(0.04, 0.05, sides=1) < found < smallest_difference(0.04, 0.005)
    with pytest.raises(DataError):
        smallest_difference(0.04, 0.0)


NAMES = ("benchmark", "metric", "value", "ci_low", "ci_high", "higher_is_better")


def row(
    benchmark: str, metric: str, value: float, low: float | None, higher: bool = True, high: float | None = None
) -> dict[str, object]:
    found = {"benchmark": benchmark, "metric": metric, "value": value, "ci_low": low, "ci_high": high}
    return found | {"higher_is_better": higher}


def test_chance_is_marked_and_one_half_of_a_bias_share_is_not_chance() -> None:
    metrics = pl.DataFrame(
        [
            row("quac", "accuracy", 0.35, 0.23),
            row("quac", "chance", 0.25, None),
            row("lm", "accuracy", 0.65, 0.53),
            row("lm", "chance", 0.5, None),
            row("preferences", "preference_accuracy/redditbias", 0.38, 0.28),  # below chance is no better
            row("bbq", "accuracy/disambig", 0.36, 0.30),
            row("bbq", "bias_score/ambig", 0.0, -0.1, higher=False),
            row("stereoset", "lms", 0.7, 0.6),
            row("stereoset", "ss", 0.5, 0.4, higher=False),
            row("crows_pairs", "stereotype_share", 0.5, 0.4, higher=False),
            row("heldout", "bits_per_byte", 2.4, 2.3, higher=False),
            row("harness/piqa", "acc", 0.55, 0.51),
            row("harness/piqa", "chance", 0.5, None),
            row("refusal", "attack_success/advbench", 0.4, 0.3, higher=False, high=0.52),
            row("refusal", "over_refusal", 0.4, 0.3, higher=False, high=0.48),
            row("bold", "toxicity_gap", 0.10, 0.05, higher=False, high=0.15),
            row("bold", "toxicity_gap_chance", 0.04, 0.01, higher=False, high=0.08),
            row("groups", "mention_gap", 0.05, 0.02, higher=False, high=0.15),
            row("groups", "mention_gap_chance", 0.04, 0.01, higher=False, high=0.08),
        ],
        schema={name: METRICS_SCHEMA[name] for name in NAMES},
    )
    found = with_chance(metrics)
    assert found.select(metrics.columns).equals(metrics)
    marked = {(b, m): at for b, m, at in found.select("benchmark", "metric", "at_chance").iter_rows() if at is not None}
    assert marked == {
        ("quac", "accuracy"): True,
        ("lm", "accuracy"): False,
        ("preferences", "preference_accuracy/redditbias"): True,
        ("bbq", "accuracy/disambig"): True,
        ("bbq", "bias_score/ambig"): True,  # a model that cannot answer leans nowhere
        ("stereoset", "lms"): False,
        ("stereoset", "ss"): False,
        ("harness/piqa", "acc"): False,
        ("refusal", "attack_success/advbench"): True,
        ("refusal", "over_refusal"): False,
        ("bold", "toxicity_gap"): False,
        ("groups", "mention_gap"): True,  # shuffled groups differ as much
    }
    chains = pl.concat([metrics.with_columns(chain=pl.lit(chain), ordinal=pl.lit(1)) for chain in ("a", "b")])
    assert with_chance(chains)["at_chance"].to_list() == found["at_chance"].to_list() * 2


def test_items_give_back_the_metrics_value() -> None:
    bootstrap = Bootstrap(1, 50, 0.95)
    groups = [(np.array([1.0, 0.0, 1.0]), np.ones(3)), (np.array([6.0, 2.0]), np.array([2.0, 2.0]))]
    metrics = [Metric("b", "m", bootstrap.macro(groups, "m"), "safety", False)]
    items = items_frame(metrics)
    ratios = items.group_by("part").agg((pl.col("numerator").sum() / pl.col("denominator").sum()).alias("r"))
    assert ratios["r"].mean() == pytest.approx(metrics_frame(metrics, 1)["value"][0]) == pytest.approx(4 / 3)
    assert items["place"].to_list() == [0, 1, 2, 0, 1]
