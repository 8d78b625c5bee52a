from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.reward.composite import RewardModel, RewardWeights, composite_reward
from curation_pipeline.reward.corrections import Corrections
from curation_pipeline.reward.fitting import fit_reward, preference_pairs, principle_examples
from curation_pipeline.reward.principles import Principle, examples_of
from curation_pipeline.reward.quality import (
    QUALITY_SCHEMA,
    RELIABILITY_BY_SET,
    reward_quality,
    reward_reliability,
)
from curation_pipeline.reward.settings import RewardSettings

SETTINGS = RewardSettings()


def test_signs_of_the_composite() -> None:
    weights = RewardWeights()
    base = composite_reward(weights, *(np.array([x]) for x in (0.5, 0.5, 0.5, 0.0)))[0]
    assert base == pytest.approx(0.5)
    for i in range(4):
        raised = [np.array([0.5]), np.array([0.5]), np.array([0.5]), np.array([0.0])]
        raised[i] = raised[i] + 0.1
        assert composite_reward(weights, *raised)[0] > base
    with pytest.raises(DataError, match="sum to 1"):
        RewardWeights(0.5, 0.5, 0.5)
    with pytest.raises((ConfigError, ValidationError), match="must be 1"):
        RewardSettings(alpha=0.9)


Fitted = tuple[RewardModel, pl.DataFrame, pl.DataFrame, np.ndarray]
AXES = {"pyrit_harm": "toxicity", "insults": "toxicity", "redditbias": "bias"}
AUDIT = pl.DataFrame(
    {"detector": ["a"], "measure": ["evasion"], "family": ["leetspeak"], "value": [0.7], "ci_high": [0.8]}
)


def _labelled(n: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Made-up labels in the project's schema with two teachers."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    score = random.random((n, 2)).astype(np.float32)
    labels = pl.DataFrame(
        {
            "dataset": np.array(list(AXES))[np.arange(n) % 3],
            "label": np.clip(0.6 * score[:, 0] + 0.5 * vectors[:, 0], 0, 1).astype(np.float64),
            "group": ["x" if i % 4 else None for i in range(n)],
            "identity_group": ["religion" if i % 5 else "none" for i in range(n)],
            "role": np.array(["fit", "calibrate", "report"])[random.integers(0, 3, n)],
        }
    )
    return labels, pl.DataFrame({"a": score[:, 0], "b": score[:, 1]}), vectors


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    labels, scores, vectors = _labelled(900, seed=0)
    model = fit_reward(labels, scores, vectors, SETTINGS, seed=4, audit=AUDIT, dataset_axes=AXES)
    return model, labels, scores, vectors


@examples(max_examples=8)
@given(
    st.fixed_dictionaries(
        {
            "axes": st.sampled_from([("toxicity",), ("toxicity", "bias")]),
            "pool_background": st.sampled_from([0.0, 0.1]),
            "pool_base_rates": st.sampled_from([{}, {"toxicity": 0.05}]),
            "isotonic_from": st.sampled_from([20, 1000]),
            "use_vector_head": st.booleans(),
            "alignment_features": st.sampled_from([("vectors",), ("vectors", "b"), ("a", "b")]),
            "obfuscation_penalty": st.sampled_from([0.0, 1.0]),
            "teacher_axes": st.sampled_from([{}, {"b": "bias"}]),
        }
    ),
    st.booleans(),
    st.sampled_from([{}, {"identity_group": {"religion": -1.5}, "source": {"web": 0.8}}]),
    st.sampled_from(["insults", "web", None]),
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.integers(0, 50),
)
def test_more_toxic_is_never_better(
    chosen: dict[str, object],
    audited: bool,
    shifts: dict[str, dict[str, float]],
    source: str | None,
    teacher: str,
    reverse: bool,
    seed: int,
) -> None:
    """dR / dT <= 0 for every teacher, in every setting, even where the labels say the reverse."""
    labels, scores, vectors = _labelled(150, seed)
    if reverse:
        labels = labels.with_columns(1.0 - pl.col("label"))
    settings = RewardSettings.model_validate(chosen)
    model = fit_reward(labels, scores, vectors, settings, 0, audit=AUDIT if audited else None, dataset_axes=AXES)
    model = replace(model, corrections=Corrections(shifts))
    grid = np.linspace(0.0, 1.0, 21, dtype=np.float32)
    random = np.random.default_rng(seed)
    documents = pl.DataFrame({name: grid if name == teacher else np.full(21, random.random()) for name in ("a", "b")})
    documents = documents.with_columns(
        identity_group=pl.lit("religion"), obfuscation=pl.lit(random.random()), source=pl.lit(source, dtype=pl.Utf8)
    )
    found = model.annotate(documents, np.repeat(vectors[:1], 21, axis=0))
    total = composite_reward(RewardWeights(), 1.0 - found["p_harm"].to_numpy(), found["alignment"].to_numpy())
    assert np.diff(total).max() <= 1e-6
    p = found["p_harm"].to_numpy()
    assert np.diff(p).min() >= -1e-6
    assert 0.0 <= p.min() <= p.max() <= 1.0


def test_reward_model_reloads_unchanged(fitted: Fitted, tmp_path: Path) -> None:
    model, _, scores, vectors = fitted
    found = model.annotate(scores, vectors)
    assert found.schema == {"p_harm": pl.Float32, "alignment": pl.Float32}
    corrected = replace(model, corrections=Corrections({"source": {"web": 1.0}}))
    assert corrected.identity != model.identity
    web = scores.with_columns(source=pl.lit("web"), obfuscation=pl.lit(0.3))
    after, before = (m.annotate(web, vectors)["p_harm"].to_numpy() for m in (corrected, model))
    assert (after > before).mean() > 0.9
    corrected.save(tmp_path)
    again = RewardModel.load(tmp_path)
    assert again.identity == corrected.identity
    assert again.annotate(web, vectors).equals(corrected.annotate(web, vectors))
    assert replace(model, weights=RewardWeights(0.6, 0.2, 0.2)).identity != model.identity
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta["safety"]["background"] += 0.1
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="not what was saved"):
        RewardModel.load(tmp_path)


def test_a_changed_principle_or_anchor_changes_alignment_alone(fitted: Fitted) -> None:
    model, labels, scores, vectors = fitted
    principle = Principle(name="polite", statement="Be polite.", complies=("Thank you.",), violates=("Idiot.",))
    other = principle.model_copy(update={"complies": ("Well asked.",), "violates": ("How stupid.",)})
    identities = set()
    for written, place in ((principle, 0), (other, 1)):
        own = np.zeros((2, 8), dtype=np.float32)
        own[:, place] = [1.0, -1.0]
        again = fit_reward(
            labels, scores, vectors, SETTINGS, seed=4, audit=AUDIT, dataset_axes=AXES,
            examples=principle_examples(examples_of((written,)), own),
        )  # fmt: skip
        assert again.annotate(scores, vectors)["p_harm"].equals(model.annotate(scores, vectors)["p_harm"])
        identities.add(again.identity)
    assert len(identities | {model.identity}) == 3


def test_quality_is_reported_on_held_out_labels(fitted: Fitted) -> None:
    model, labels, scores, vectors = fitted
    random = np.random.default_rng(1)
    better, worse = vectors[:200], vectors[200:400]
    pairs = preference_pairs(
        pl.DataFrame({"source": ["hh"] * 200, "role": ["fit", "report"] * 100}),
        (better, worse),
        (scores[:200], scores[200:400]),
    )
    lengths = (random.integers(1, 9, 200), random.integers(5, 99, 200))
    quality = reward_quality(
        model, labels, scores, vectors, SETTINGS, seed=1, dataset_axes=AXES, preferences=pairs,
        preference_lengths=lengths, resamples=20,
    )  # fmt: skip
    assert dict(quality.schema) == QUALITY_SCHEMA
    held = labels.filter((pl.col("role") == "report") & (pl.col("dataset") == "insults")).height
    own = quality.filter((pl.col("part") == "safety.toxicity") & (pl.col("dataset") == "insults"))
    assert {"auroc", "auroc_seen", "ece", "brier", "auroc_gain", "ece_gain", "bpsn_auc"} <= set(own["metric"])
    assert own.filter(pl.col("metric") == "auroc")["n"].to_list() == [held]
    assert own.filter(pl.col("metric") == "auroc")["value"][0] > 0.75
    gain = own.filter(pl.col("metric") == "auroc_gain")
    assert gain["group"].to_list() == ["a", "b"]
    assert gain["ci_low"][1] > 0
    accuracy = quality.filter((pl.col("part") == "preference") & (pl.col("metric") == "accuracy"))
    assert set(accuracy["group"]) == {"alignment", "toxicity_only", "length_only"}
    assert accuracy.filter(pl.col("group") == "length_only")["value"][0] > 0.9
    table = reward_reliability(model, labels, scores, vectors, dataset_axes=AXES)
    assert dict(table.schema) == RELIABILITY_BY_SET
    assert table.filter(pl.col("dataset") == "insults")["n"].sum() == held
    with pytest.raises(DataError, match="one row of teacher scores"):
        reward_quality(model, labels, scores.head(3), vectors, SETTINGS, seed=1)
