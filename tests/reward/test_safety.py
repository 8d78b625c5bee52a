from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from curation_pipeline.errors import DataError
from curation_pipeline.reward.calibration import fit_platt
from curation_pipeline.reward.safety import SafetyModel, fit_safety, safety_quality
from curation_pipeline.reward.settings import RewardSettings

BACKGROUND = 0.42
ROLES = np.array(["fit", "calibrate", "report"])


def _assistant_answers(n: int, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Answers of which few have toxic wording, while 42% are harmful in plain words that vectors partly show."""
    random = np.random.default_rng(seed)
    logit = random.normal(-3.5, 1.8, n)
    vectors = random.standard_normal((n, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    unseen = expit(np.log(BACKGROUND / (1 - BACKGROUND)) + 4.0 * vectors[:, 0])
    harm = 1.0 - (1.0 - expit(logit)) * (1.0 - unseen)
    labels = (random.random(n) < harm).astype(float)
    noisy = random.normal(logit, 1.0)
    scores = pl.DataFrame(
        {"sharp": expit(logit).astype(np.float32), "noisy": expit(noisy).astype(np.float32)},
    )
    return scores, labels, ROLES[random.integers(0, 3, n)], vectors


@pytest.fixture(scope="module")
def fitted() -> SafetyModel:
    scores, labels, roles, vectors = _assistant_answers(1200)
    return fit_safety(scores, labels, roles, RewardSettings(), vectors=vectors)


def test_unseen_harm_does_not_leak_into_the_pool(fitted: SafetyModel) -> None:
    """The reason for the model: a plain calibration of the same labels calls clean text a coin toss."""
    scores, labels, roles, _ = _assistant_answers(1200)
    clean = pl.DataFrame({"sharp": [0.005, 0.02], "noisy": [0.005, 0.02]})
    toxic = pl.DataFrame({"sharp": [0.95, 0.99], "noisy": [0.95, 0.99]})
    plain = fit_platt(scores["sharp"].to_numpy()[roles == "fit"], labels[roles == "fit"], prior_sd=10)
    coin = plain(clean["sharp"].to_numpy())
    assert coin.min() > 0.3
    assert (fitted.p_harm(clean) < coin / 3).all()
    assert fitted.p_harm(toxic).min() > 0.8


def test_many_labels_recover_the_truth() -> None:
    """The estimator is consistent: the sharp teacher is the true cause, and the background is what was simulated."""
    scores, labels, roles, vectors = _assistant_answers(12_000)
    model = fit_safety(scores, labels, roles, RewardSettings(), vectors=vectors)
    truth = expit(np.log(BACKGROUND / (1 - BACKGROUND)) + 4.0 * vectors[:, 0]).mean()
    assert model.background == pytest.approx(truth, abs=0.02)
    assert model.weights[0] > 2 * model.weights[1]
    grid = np.array([0.01, 0.05, 0.5, 0.9])
    found = model.p_harm(pl.DataFrame({"sharp": grid, "noisy": grid}))
    np.testing.assert_allclose(found, grid, atol=0.1)


def test_calibrated_on_texts_like_the_labelled_ones(fitted: SafetyModel) -> None:
    scores, labels, _, vectors = _assistant_answers(4000, seed=9)
    quality = safety_quality(fitted, scores, labels, vectors)
    assert quality.reliability.ece < 0.05
    assert quality.auroc > 0.75 > quality.auroc_seen > 0.55


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([60, 20]),
)
def test_more_toxic_is_never_safer(
    pairs: list[tuple[float, float]], seed: int, pool_background: float, isotonic_from: int
) -> None:
    """dR / dT <= 0 for every teacher, whatever the labels say, even when they say the reverse."""
    random = np.random.default_rng(seed)
    scores = pl.DataFrame({"a": random.random(90), "b": random.random(90)})
    labels = np.clip(1.2 * (1.0 - scores["a"].to_numpy()) * random.random(90), 0, 1)
    vectors = random.standard_normal((90, 4))
    settings = RewardSettings(pool_background=pool_background, isotonic_from=isotonic_from)
    model = fit_safety(scores, labels, np.repeat(["fit", "calibrate"], 45), settings, vectors=vectors)
    assert (model.weights >= 0).all()
    same = np.repeat(random.standard_normal((1, 4)), len(pairs), axis=0)
    for column in (0, 1):
        rows = sorted(pairs, key=lambda pair: pair[column])
        low = [pair[column] for pair in rows]
        other = [rows[0][1 - column]] * len(rows)
        frame = pl.DataFrame({"a": low, "b": other} if column == 0 else {"a": other, "b": low})
        safety = 1.0 - model.p_harm(frame, same)
        assert np.diff(safety).max() <= 1e-6
        assert ((safety >= 0) & (safety <= 1)).all()


def test_wrong_input_is_named(fitted: SafetyModel) -> None:
    with pytest.raises(DataError, match="noisy"):
        fitted.p_harm(pl.DataFrame({"sharp": [0.5]}))
    scores, labels, roles, _ = _assistant_answers(30)
    with pytest.raises(DataError, match="do not match"):
        fit_safety(scores, labels[:5], roles, RewardSettings())
    with pytest.raises(DataError, match="0 texts of role fit"):
        fit_safety(scores, labels, np.repeat("report", 30), RewardSettings())
