from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import entropy

from curation_pipeline.errors import ConfigError
from curation_pipeline.reward.target_settings import TargetSettings
from curation_pipeline.reward.targets import divergence_drop, target_shares

seeds = st.integers(0, 10_000)


@given(seeds)
def test_targets_are_met_and_what_is_not_named_keeps_its_proportions(seed: int) -> None:
    random = np.random.default_rng(seed)
    domain, topic = np.divmod(np.arange(12), 4)
    shares = random.dirichlet(np.ones(12)) + 1e-3
    axes = {"domain": (domain, ("a", "b", "c")), "topic": (topic, ("0", "1", "2", "3"))}
    q = target_shares(shares, axes, {"domain": {"a": 0.5}, "topic": {"0": 0.1, "3": 0.4}})
    by_topic, by_domain = np.bincount(topic, q), np.bincount(domain, q)
    assert q.sum() == pytest.approx(1.0)
    assert by_domain[0] == pytest.approx(0.5, abs=1e-6)
    assert by_topic[[0, 3]] == pytest.approx([0.1, 0.4], abs=1e-6)
    # Odds between cells change by factors of their rows and columns alone: the cross ratios stay.
    table, fitted = (shares / shares.sum()).reshape(3, 4), q.reshape(3, 4)

    def cross(x: np.ndarray) -> float:
        return float(x[0, 0] * x[1, 1] / (x[0, 1] * x[1, 0]))

    assert cross(fitted) == pytest.approx(cross(table), rel=1e-6)
    # Unnamed values are scaled alike within a cell of the other axis.
    assert fitted[1, 1] / fitted[2, 1] == pytest.approx(table[1, 1] / table[2, 1], rel=1e-6)


def test_without_targets_the_pool_is_aimed_at() -> None:
    shares = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(target_shares(shares, {}, {}), shares)


def test_what_cannot_be_is_said() -> None:
    axes = {"topic": (np.array([0, 1]), ("0", "1"))}
    shares = np.array([0.5, 0.5])
    with pytest.raises(ConfigError, match=r"reward.targets.topic.7 .*holds none of it; it holds 0, 1"):
        target_shares(shares, axes, {"topic": {"7": 0.5}})
    with pytest.raises(ConfigError, match=r"names source, of which the pool says nothing"):
        target_shares(shares, axes, {"source": {"x": 0.5}})
    with pytest.raises(ConfigError, match=r"adds up to 0.7"):
        target_shares(shares, axes, {"topic": {"0": 0.5, "1": 0.2}})
    both = {"topic": (np.array([0, 1]), ("0", "1")), "source": (np.array([0, 1]), ("a", "b"))}
    with pytest.raises(ConfigError, match=r"contradict"):
        target_shares(shares, both, {"topic": {"0": 0.9}, "source": {"a": 0.2}})


@given(seeds)
def test_drops_add_up_to_the_fall_of_the_divergence(seed: int) -> None:
    random = np.random.default_rng(seed)
    target, present = random.dirichlet(np.ones(6)), random.uniform(0.1, 2.0, 6)
    target[0] = 0.0
    target /= target.sum()
    before, total = entropy(target, present), 0.0
    for stratum, amount in zip(random.integers(0, 6, 25), random.uniform(0.0, 1.0, 25), strict=True):
        drop = float(divergence_drop(target, present, np.array([stratum]), np.array([amount]))[0])
        total += drop
        present[stratum] += amount
    assert total == pytest.approx(before - entropy(target, present), abs=1e-9)


def test_a_small_amount_gains_what_the_derivative_says() -> None:
    target, present = np.array([0.7, 0.3]), np.array([1.0, 3.0])
    drop = divergence_drop(target, present, np.array([0, 1]), 1e-7) / 1e-7 * present.sum()
    np.testing.assert_allclose(drop, target / (present / present.sum()) - 1.0, rtol=1e-5)


def test_shares_that_do_not_fit_are_refused() -> None:
    assert TargetSettings(targets={"register": {"conversation": 0.3}}, essential={"topic": {"3": 0.02}}).targets
    refused: tuple[dict[str, object], ...] = (
        {"targets": {"topic": {"0": 0.7, "1": 0.4}}},
        {"essential": {"topic": {}}},
        {"targets": {"topic": {"0": 0.1}}, "essential": {"topic": {"0": 0.2}}},
    )
    for wrong in refused:
        with pytest.raises((ConfigError, ValidationError)):
            TargetSettings.model_validate(wrong)
    with pytest.raises(ValidationError):
        TargetSettings.model_validate({"targets": {"toxicity": {"0": 0.1}}})
