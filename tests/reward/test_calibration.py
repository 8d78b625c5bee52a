from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from curation_pipeline.reward.calibration import (
    Beta,
    Isotonic,
    calibrator_from_json,
    calibrator_to_json,
    fit_beta,
    fit_calibrator,
    fit_isotonic,
    fit_platt,
    safe_logit,
    shift_prior,
)
from curation_pipeline.reward.metrics import auroc, expected_calibration_error, reliability


def _miscalibrated(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores whose true probability is sigmoid(0.5 logit(score) - 1), with drawn labels."""
    random = np.random.default_rng(seed)
    scores = random.beta(0.7, 1.0, n)
    truth = expit(0.5 * safe_logit(scores) - 1.0)
    return scores, truth, (random.random(n) < truth).astype(float)


def test_the_truth_is_recovered() -> None:
    scores, truth, labels = _miscalibrated(8000)
    platt = fit_platt(scores, labels)
    assert platt.slope == pytest.approx(0.5, abs=0.05)
    assert platt.intercept == pytest.approx(-1.0, abs=0.08)
    for calibrator in (platt, fit_isotonic(scores, labels)):
        assert np.abs(calibrator(scores) - truth).mean() < 0.025
    assert expected_calibration_error(scores, labels) > 0.15
    held = fit_calibrator(scores[:4000], labels[:4000])(scores[4000:])
    found = reliability(held, labels[4000:], seed=1)
    assert found.value < 0.03
    assert found.low <= found.value <= found.high


def test_held_out_loss_chooses_the_calibrator() -> None:
    scores, _, labels = _miscalibrated(3000)
    assert not isinstance(fit_calibrator(scores, labels), Isotonic)  # the truth is a sigmoid
    np.testing.assert_allclose(fit_calibrator(scores[:0], labels[:0])(scores), scores, atol=2e-4)
    random = np.random.default_rng(1)
    step = np.where(scores < 0.3, 0.1, np.where(scores < 0.7, 0.5, 0.55))
    stairs = (random.random(3000) < step).astype(float)
    assert isinstance(fit_calibrator(scores, stairs), Isotonic)
    assert not isinstance(fit_calibrator(scores[:999], stairs[:999]), Isotonic)
    bent = expit(0.3 * np.log(scores) - 2.5 * np.log1p(-scores) - 1.0)
    found = fit_calibrator(scores, (random.random(3000) < bent).astype(float), isotonic_from=10_000)
    assert isinstance(found, Beta)
    assert (found.a, found.b, found.c) == pytest.approx((0.3, 2.5, -1.0), abs=0.35)


def test_a_known_background_is_cleared_away() -> None:
    scores, truth, _ = _miscalibrated(8000)
    random = np.random.default_rng(2)
    background = random.choice([0.1, 0.6], 8000)
    labels = (random.random(8000) < 1 - (1 - truth) * (1 - background)).astype(float)
    for fit in (fit_platt, fit_beta, fit_isotonic):
        assert np.abs(fit(scores, labels, background=background)(scores) - truth).mean() < 0.03
        assert np.abs(fit(scores, labels)(scores) - truth).mean() > 0.15


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-0.5, 1.5), st.floats(0.1, 5)), min_size=1, max_size=40))
def test_isotonic_is_monotone_and_keeps_the_mean(rows: list[tuple[float, float, float]]) -> None:
    x, y, w = (np.array(column) for column in zip(*rows, strict=True))
    found = fit_isotonic(x, y, w)
    assert np.diff(found(np.linspace(0, 1, 101))).min() >= -1e-12
    assert 0.0 <= min(found.values) <= max(found.values) <= 1.0
    again = calibrator_from_json(json.loads(json.dumps(calibrator_to_json(found))))
    assert again == found


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=4, max_size=60))
def test_auroc_is_scikit_learn_s(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    if labels.min() == labels.max():
        assert np.isnan(auroc(scores, labels))
    else:
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_a_shifted_base_rate_is_corrected() -> None:
    random = np.random.default_rng(3)
    label = (random.random(40_000) < 0.1).astype(float)
    x = random.normal(1.5 * label, 1.0)
    half = expit(1.5 * x - 1.5**2 / 2)  # posterior of these two Gaussians under a base rate of one half
    assert expected_calibration_error(shift_prior(half, 0.5, 0.1), label) < 0.01
    assert not shift_prior(half, 0.5, 0.0).any()
