from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.reward.composite import RewardModel, RewardWeights
from curation_pipeline.reward.fitting import QUALITY_SCHEMA, fit_reward, reward_quality
from curation_pipeline.reward.refine import refine
from curation_pipeline.reward.settings import RewardSettings

SETTINGS = RewardSettings()
TARGETS = {"safety": 0.9, "alignment": 0.6, "capability": 0.5}


@st.composite
def _weights(draw: st.DrawFn) -> RewardWeights:
    raw = np.array(draw(st.tuples(*[st.floats(0.1, 1.0)] * 3)))
    raw = 0.85 * raw / raw.sum() + 0.05
    return RewardWeights(float(raw[0]), float(raw[1]), 1.0 - float(raw[0]) - float(raw[1]))


_METRICS = st.fixed_dictionaries({}, optional=dict.fromkeys(TARGETS, st.floats(-1, 2)))


@given(_weights(), _METRICS, _METRICS, _METRICS)
def test_refinement_stays_on_the_simplex_and_within_its_step(
    weights: RewardWeights, now: dict[str, float], before: dict[str, float], targets: dict[str, float]
) -> None:
    after, moves = refine(weights, now, before, targets, SETTINGS)
    old = np.array([weights.alpha, weights.beta, weights.gamma])
    new = np.array([after.alpha, after.beta, after.gamma])
    assert new.sum() == pytest.approx(1.0)
    assert new.min() >= SETTINGS.min_weight - 1e-9
    assert np.abs(np.log(new / old)).max() <= SETTINGS.max_log_step + 1e-6
    assert after.eta == weights.eta
    assert {move.name for move in moves} <= {"alpha", "beta", "gamma"}
    if not moves:
        assert after == weights


@pytest.mark.parametrize(("axis", "name"), [("safety", "alpha"), ("alignment", "beta"), ("capability", "gamma")])
def test_a_shortfall_raises_the_weight_that_answers_it(axis: str, name: str) -> None:
    start = RewardWeights()
    fine = {"safety": 0.95, "alignment": 0.7, "capability": 0.5}
    assert refine(start, fine, fine, TARGETS, SETTINGS) == (start, [])
    short = fine | {axis: 0.3}
    for before, targets in (({}, TARGETS), (fine, {})):
        after, moves = refine(start, short, before, targets, SETTINGS)
        assert getattr(after, name) > getattr(start, name)
        assert [move.name for move in moves] == [name]
        assert axis in moves[0].reason
        assert moves[0].after == getattr(after, name)


def test_small_shortfalls_move_little_and_noise_moves_nothing() -> None:
    start = RewardWeights()
    small, _ = refine(start, {"safety": 0.88}, {}, TARGETS, SETTINGS)
    large, _ = refine(start, {"safety": 0.2}, {}, TARGETS, SETTINGS)
    assert start.alpha < small.alpha < large.alpha
    assert refine(start, {"safety": 0.9}, {"safety": 0.905}, {}, SETTINGS)[1] == []
    assert refine(start, {"capability": 0.48}, {"capability": 0.5}, TARGETS, SETTINGS)[1] == []
    with pytest.raises(DataError, match="judge"):
        refine(start, {"safety": float("nan")}, {}, TARGETS, SETTINGS)


def test_signs_of_the_composite() -> None:
    weights = RewardWeights()
    base = weights.total(np.array([0.5]), np.array([0.5]), np.array([0.5]), np.array([0.0]))[0]
    assert base == pytest.approx(0.5)
    for i in range(4):
        raised = [np.array([0.5]), np.array([0.5]), np.array([0.5]), np.array([0.0])]
        raised[i] = raised[i] + 0.1
        assert weights.total(*raised)[0] > base
    assert weights.stepped("safety").alpha > weights.alpha
    with pytest.raises(DataError, match="sum to 1"):
        RewardWeights(0.5, 0.5, 0.5)
    with pytest.raises((ConfigError, ValidationError), match="must be 1"):
        RewardSettings(alpha=0.9)


@pytest.fixture(scope="module")
def fitted() -> tuple[RewardModel, pl.DataFrame, pl.DataFrame, np.ndarray]:
    """A reward fitted on made-up labels in the project's schema."""
    random = np.random.default_rng(0)
    n = 600
    vectors = random.standard_normal((n, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    score = random.random(n)
    labels = pl.DataFrame(
        {
            "dataset": np.where(np.arange(n) % 2, "pyrit_harm", "redditbias"),
            "label": np.clip(0.6 * score + 2.0 * vectors[:, 0], 0, 1),
            "group": ["x" if i % 3 else None for i in range(n)],
            "role": np.array(["fit", "calibrate", "report"])[random.integers(0, 3, n)],
        }
    )
    scores = pl.DataFrame({"alt_profanity": score.astype(np.float32)})
    model = fit_reward(labels, scores, vectors, vectors, SETTINGS, seed=4)
    return model, labels, scores, vectors


def test_reward_model_reloads_unchanged(
    fitted: tuple[RewardModel, pl.DataFrame, pl.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    model, _, scores, vectors = fitted
    found = model.annotate(scores, vectors)
    assert found.schema == {"p_harm": pl.Float32, "alignment": pl.Float32}
    model.save(tmp_path)
    again = RewardModel.load(tmp_path)
    assert again.identity == model.identity
    assert again.annotate(scores, vectors).equals(found)
    assert model.reweighted(RewardWeights(0.6, 0.2, 0.2)).identity != model.identity
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta["safety"]["intercept"] += 0.1
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="not what was saved"):
        RewardModel.load(tmp_path)


def test_quality_is_reported_on_held_out_labels(
    fitted: tuple[RewardModel, pl.DataFrame, pl.DataFrame, np.ndarray],
) -> None:
    model, labels, scores, vectors = fitted
    quality = reward_quality(model, labels, scores, vectors, SETTINGS, seed=1)
    assert dict(quality.schema) == QUALITY_SCHEMA
    held = labels.filter((pl.col("role") == "report") & (pl.col("dataset") == "pyrit_harm")).height
    safety = quality.filter(pl.col("part") == "safety")
    assert safety["metric"].to_list() == ["auroc", "auroc_seen", "ece"]
    assert safety["n"].unique().to_list() == [held]
    assert safety["value"][0] > 0.8
    with pytest.raises(DataError, match="one row of teacher scores"):
        reward_quality(model, labels, scores.head(3), vectors, SETTINGS, seed=1)
