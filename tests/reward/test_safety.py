from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from curation_pipeline.errors import DataError
from curation_pipeline.reward.calibration import fit_platt
from curation_pipeline.reward.metrics import auroc, expected_calibration_error
from curation_pipeline.reward.safety import SafetyModel, as_documents
from curation_pipeline.reward.safety_fit import fit_safety, usable
from curation_pipeline.reward.settings import RewardSettings

BACKGROUND = 0.42
ROLES = np.array(["fit", "calibrate", "report"])
SETTINGS = RewardSettings()


def _assistant_answers(n: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Answers of which few have toxic wording, while 42% are harmful in plain words that vectors partly show."""
    random = np.random.default_rng(seed)
    logit = random.normal(-3.5, 1.8, n)
    vectors = random.standard_normal((n, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    unseen = expit(np.log(BACKGROUND / (1 - BACKGROUND)) + 4.0 * vectors[:, 0])
    harm = 1.0 - (1.0 - expit(logit)) * (1.0 - unseen)
    noisy = random.normal(logit, 1.0)
    scores = pl.DataFrame({"sharp": expit(logit).astype(np.float32), "noisy": expit(noisy).astype(np.float32)})
    labels = pl.DataFrame(
        {
            "dataset": ["pyrit_harm"] * n,
            "label": (random.random(n) < harm).astype(float),
            "role": ROLES[random.integers(0, 3, n)],
        }
    )
    return scores, labels, vectors


@pytest.fixture(scope="module")
def fitted() -> SafetyModel:
    scores, labels, vectors = _assistant_answers(1200)
    return fit_safety(labels, scores, SETTINGS, 0, vectors=vectors)


def test_unseen_harm_does_not_leak_into_the_pool(fitted: SafetyModel) -> None:
    """The reason for the model: a plain calibration of the same labels calls clean text a coin toss."""
    scores, labels, _ = _assistant_answers(1200)
    clean = pl.DataFrame({"sharp": [0.005, 0.02], "noisy": [0.005, 0.02]})
    toxic = pl.DataFrame({"sharp": [0.95, 0.99], "noisy": [0.95, 0.99]})
    fit = (labels["role"] == "fit").to_numpy()
    plain = fit_platt(scores["sharp"].to_numpy()[fit], labels["label"].to_numpy()[fit], slope_sd=10)
    coin = plain(clean["sharp"].to_numpy())
    assert coin.min() > 0.3
    assert (fitted.p_harm(clean) < coin / 3).all()
    assert fitted.p_harm(toxic).min() > 0.8


def test_many_labels_recover_the_truth() -> None:
    """The estimator is consistent: the sharp teacher is the true cause, and the background is what was simulated."""
    scores, labels, vectors = _assistant_answers(12_000)
    model = fit_safety(labels, scores, SETTINGS, 0, vectors=vectors)
    truth = expit(np.log(BACKGROUND / (1 - BACKGROUND)) + 4.0 * vectors[:, 0]).mean()
    assert model.background == pytest.approx(truth, abs=0.02)
    weights = model.axis("toxicity").stack.weights[-1]
    assert weights[0] > 2 * weights[1]
    grid = np.array([0.01, 0.05, 0.5, 0.9])
    found = model.p_harm(pl.DataFrame({"sharp": grid, "noisy": grid}))
    np.testing.assert_allclose(found, grid, atol=0.1)


def test_calibrated_on_texts_like_the_labelled_ones(fitted: SafetyModel) -> None:
    scores, labels, vectors = _assistant_answers(4000, seed=9)
    documents, y = as_documents(labels, scores), labels["label"].to_numpy()
    p = fitted.p_harm_labelled(documents, "toxicity", vectors)
    assert expected_calibration_error(p, y) < 0.05
    assert auroc(p, y) > 0.75 > auroc(fitted.seen(documents), y) > 0.55


def _two_sets(n: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Teacher "a" is right on set one, "b" on set two, and each is noise on the other; a third axis is apart."""
    random = np.random.default_rng(seed)
    name = np.array(["one", "two", "leaning"])[random.integers(0, 3, n)]
    group = np.where(random.random(n) < 0.4, "x", "none")
    truth = random.normal(-0.5, 2.0, n)
    noise = random.normal(-0.5, 2.0, (n, 3))
    # Both teachers of toxicity read texts that name group x as more toxic than people do.
    bias = np.where(group == "x", 1.5, 0.0)
    a, b = np.where(name == "one", truth + bias, noise[:, 0]), np.where(name == "two", truth + bias, noise[:, 1])
    c = np.where(name == "leaning", truth, noise[:, 2])
    scores = pl.DataFrame({"a": expit(a), "b": expit(b), "c": expit(c)}).cast(pl.Float32)
    labels = pl.DataFrame(
        {
            "dataset": name,
            "label": (random.random(n) < expit(truth)).astype(float),
            "role": ROLES[random.integers(0, 3, n)],
            "group": group,
        }
    )
    return scores, labels


AXES = {"one": "toxicity", "two": "toxicity", "leaning": "bias"}


def test_each_set_has_its_own_weights_and_groups_are_calibrated() -> None:
    scores, labels = _two_sets(6000, seed=1)
    settings = RewardSettings(axes=("toxicity", "bias"), teacher_axes={"c": "bias"})
    model = fit_safety(labels, scores, settings, 0, dataset_axes=AXES)
    assert [axis.name for axis in model.axes] == ["bias", "toxicity"]
    stack = model.axis("toxicity").stack
    assert stack.weights[0].argmax() == 0
    assert stack.weights[1].argmax() == 1
    assert (stack.weights >= 0).all()
    shifts = model.axis("toxicity").shifts.shifts["group"]
    for name in ("one", "two"):
        assert shifts[f"{name}/x"] < -0.5 < shifts[f"{name}/none"]
    held = labels["role"] == "report"
    documents, y = as_documents(labels, scores).filter(held), labels.filter(held)["label"].to_numpy()
    for source, axis in AXES.items():
        p = model.p_harm_labelled(documents, axis)
        for group in ("x", "none"):
            rows = ((documents["source"] == source) & (documents["group"] == f"{source}/{group}")).to_numpy()
            assert expected_calibration_error(p[rows], y[rows], 5) < 0.07
    either = 1.0 - (1.0 - model.seen(documents, "toxicity")) * (1.0 - model.seen(documents, "bias"))
    np.testing.assert_allclose(model.seen(documents), either)
    narrow = fit_safety(labels, scores, RewardSettings(teacher_axes={"c": "bias"}), 0, dataset_axes=AXES)
    np.testing.assert_allclose(narrow.seen(documents), narrow.seen(documents, "toxicity"))


def test_an_unknown_source_has_the_common_weights_at_the_pools_base_rate() -> None:
    scores, labels = _two_sets(1500, seed=2)
    pool = scores.with_columns(source=pl.lit("somewhere"))
    rates = []
    for rate in (None, 0.02):
        settings = RewardSettings(pool_base_rates={} if rate is None else {"toxicity": rate})
        model = fit_safety(labels, scores, settings, 0, dataset_axes=AXES)
        assert set(model.axis("toxicity").places(pool).tolist()) == {2}
        rates.append(float(model.p_harm(pool).mean()))
    assert rates[1] < 0.1 < rates[0]


def test_texts_that_a_teacher_was_fitted_on_are_not_stacked_on() -> None:
    scores, labels = _two_sets(300, seed=3)
    found = usable(labels, scores.columns, {"a": ["one"], "elsewhere": ["two"]})
    expected = (labels["role"] == "calibrate") | ((labels["role"] == "fit") & (labels["dataset"] != "one"))
    np.testing.assert_array_equal(found, expected.to_numpy())


def test_the_red_team_costs_a_teacher_its_weight_and_disguise_its_benefit_of_the_doubt() -> None:
    random = np.random.default_rng(4)
    truth = random.normal(-0.5, 2.0, 600)
    same = expit(truth + random.normal(0.0, 0.1, (2, 600)))
    scores = pl.DataFrame({"a": same[0], "b": same[1]}).cast(pl.Float32)
    labels = pl.DataFrame(
        {"dataset": ["one"] * 600, "label": (random.random(600) < expit(truth)).astype(float), "role": ["fit"] * 600}
    )
    audit = pl.DataFrame(
        [
            ("a", "identity_swap", "group", 0.9, 0.95),
            ("a", "evasion", "leetspeak", 0.6, 0.8),
            ("b", "evasion", "leetspeak", 0.2, None),
        ],
        schema={"detector": pl.Utf8, "measure": pl.Utf8, "family": pl.Utf8, "value": pl.Float64, "ci_high": pl.Float64},
        orient="row",
    )  # fmt: skip
    plain, warned = (fit_safety(labels, scores, SETTINGS, 0, audit=a, dataset_axes=AXES) for a in (None, audit))
    before, after = plain.axis("toxicity").stack.weights[-1], warned.axis("toxicity").stack.weights[-1]
    assert after[0] / after[1] < 0.7 * before[0] / before[1]
    assert plain.axis("toxicity").evasion == 0.0
    assert 0.2 < warned.axis("toxicity").evasion < 0.8
    clean = pl.DataFrame({"a": [0.01] * 3, "b": [0.01] * 3, "obfuscation": [0.0, 0.5, 1.0]})
    np.testing.assert_allclose(np.diff(plain.p_harm(clean)), 0.0)
    p = warned.p_harm(clean)
    assert p[0] < 0.1 < p[1] < p[2]
    expected = 1 - (1 - float(p[0])) * (1 - 0.5 * warned.axis("toxicity").evasion)
    assert p[2] == pytest.approx(expected, abs=2e-4)
    with pytest.raises(DataError, match="lacks ci_high"):
        fit_safety(labels, scores, SETTINGS, 0, audit=audit.drop("ci_high"), dataset_axes=AXES)


def test_wrong_input_is_named(fitted: SafetyModel) -> None:
    with pytest.raises(DataError, match="noisy"):
        fitted.p_harm(pl.DataFrame({"sharp": [0.5]}))
    with pytest.raises(DataError, match="no axis 'bias'"):
        fitted.seen(pl.DataFrame({"sharp": [0.5], "noisy": [0.5]}), "bias")
    scores, labels, _ = _assistant_answers(30)
    with pytest.raises(DataError, match="do not match"):
        fit_safety(labels.head(5), scores, SETTINGS, 0)
    with pytest.raises(DataError, match="no usable text for the axes toxicity"):
        fit_safety(labels.with_columns(role=pl.lit("report")), scores, SETTINGS, 0)
    with pytest.raises(DataError, match="must lie in"):
        fit_safety(labels.with_columns(pl.col("label") * 3), scores, SETTINGS, 0)
