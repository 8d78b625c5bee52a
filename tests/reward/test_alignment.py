from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.reward.alignment import Examples, Pairs, Texts, alignment_quality
from curation_pipeline.reward.alignment_fit import fit_alignment
from curation_pipeline.reward.linear_head import TrainingRows, fit_head
from curation_pipeline.reward.principles import Principle, examples_of
from curation_pipeline.reward.settings import RewardSettings


def _labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Aligned texts lie along the first axis; group "g" (second axis) is labelled not aligned far more often."""
    random = np.random.default_rng(seed)
    group = np.where(random.random(n) < 0.5, "g", "h")
    aligned = (random.random(n) < np.where(group == "g", 0.2, 0.8)).astype(float)
    vectors = random.standard_normal((n, 6))
    vectors[:, 0] += 1.5 * aligned
    vectors[:, 1] += np.where(group == "g", 3.0, 0.0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    dataset = np.where(random.random(n) < 0.9, "large", "small")
    role = np.array(["fit", "calibrate", "report"])[random.integers(0, 3, n)]
    return vectors, aligned, dataset, role, group


def test_naming_a_group_does_not_count_against_a_text() -> None:
    vectors, aligned, dataset, role, group = _labelled(4000, seed=0)
    fair = fit_alignment(vectors, aligned, dataset, role, RewardSettings(), groups=group)
    unfair = fit_alignment(vectors, aligned, dataset, role, RewardSettings())
    held = role == "report"
    gaps = []
    for model in (fair, unfair):
        score = model.score(vectors[held])
        assert score.dtype == np.float32
        among = {g: score[(group[held] == g) & (aligned[held] == 1)].mean() for g in "gh"}
        gaps.append(among["h"] - among["g"])
    assert gaps[0] < 0.1 < 0.2 < gaps[1]
    found = alignment_quality(fair, vectors[held], aligned[held], dataset[held], groups=group[held])
    assert [quality.dataset for quality in found] == ["large", "small"]
    assert found[0].auroc_within > 0.75


def test_wrong_input_is_named() -> None:
    vectors, aligned, dataset, role, _ = _labelled(60, seed=1)
    model = fit_alignment(vectors, aligned, dataset, role, RewardSettings())
    with pytest.raises(DataError, match=r"expected \(n, 6\)"):
        model.score(vectors[:, :3])
    with pytest.raises(DataError, match="labels in"):
        fit_alignment(vectors, aligned * 5, dataset, role, RewardSettings())


def test_preferences_alone_are_bradley_terry() -> None:
    """Without anchors the fit is a logistic regression on differences, as scikit-learn's on doubled, signed data."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(2)
    x = random.standard_normal((300, 3))
    difference = np.where((random.random(300) < 0.5 + 0.3 * np.sign(x[:, 0]))[:, None], x, -x)
    none = np.empty(0)
    found, _ = fit_head(TrainingRows(np.empty((0, 3)), none, none, difference, np.full(300, 2.0)), n_bounded=0, l2=0.5)
    double = np.vstack([difference, -difference])
    other = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8).fit(double, np.repeat([1, 0], 300))
    np.testing.assert_allclose(found, other.coef_[0], atol=1e-3)
    assert found[0] > 0.5


def test_choices_between_replies_teach_what_labels_do_not_say() -> None:
    vectors, aligned, dataset, role, group = _labelled(1500, seed=3)
    random = np.random.default_rng(4)
    better = random.standard_normal((400, 6))
    worse = better.copy()
    better[:, 4] += 0.8
    pairs = Pairs(Texts(better), Texts(worse), np.full(400, "hh"), np.repeat(["fit", "report"], 200))
    deaf = fit_alignment(vectors, aligned, dataset, role, RewardSettings(), groups=group)
    model = fit_alignment(vectors, aligned, dataset, role, RewardSettings(), groups=group, pairs=pairs)
    held = slice(200, 400)
    assert (model.raw(better[held]) > model.raw(worse[held])).mean() == 1.0
    assert model.coef[4] > 3 * abs(deaf.coef[4])
    ignored = RewardSettings(preference_weight=0.0)
    same = fit_alignment(vectors, aligned, dataset, role, ignored, groups=group, pairs=pairs)
    np.testing.assert_allclose(same.coef, deaf.coef)


def test_teachers_of_harm_never_raise_alignment() -> None:
    vectors, aligned, dataset, role, group = _labelled(1500, seed=5)
    random = np.random.default_rng(6)
    scores = pl.DataFrame(
        {"bias_head": np.clip(0.5 - 0.3 * (aligned - 0.5) + random.normal(0, 0.2, 1500), 0, 1), "wrong": aligned}
    ).cast(pl.Float32)
    settings = RewardSettings(alignment_features=("vectors", "bias_head", "wrong"))
    model = fit_alignment(vectors, aligned, dataset, role, settings, groups=group, scores=scores)
    assert model.teacher_coef is not None
    assert model.teachers == ("bias_head", "wrong")
    assert model.teacher_coef[0] < -0.1
    assert model.teacher_coef[1] == 0.0  # people call its high scores aligned, and still it may not help
    plain = fit_alignment(vectors, aligned, dataset, role, RewardSettings(), groups=group)
    held = role == "report"
    quality = [
        alignment_quality(
            m, vectors[held], aligned[held], dataset[held], groups=group[held], scores=scores.filter(held)
        )
        for m in (model, plain)
    ]
    assert quality[0][0].auroc_within > quality[1][0].auroc_within
    only = RewardSettings(alignment_features=("bias_head",))
    assert fit_alignment(vectors, aligned, dataset, role, only, groups=group, scores=scores).coef.size == 0
    with pytest.raises(DataError, match="bias_head"):
        model.score(vectors)


POLITE = Principle(
    name="polite",
    statement="A reply does not insult the person it answers.",
    complies=("Thank you for asking; here is what I know.", "I see it differently, and this is why."),
    violates=("Only an idiot would ask that.", "You are too stupid to be helped."),
)


def test_principles_are_weak_evidence() -> None:
    examples = examples_of((POLITE,))
    assert examples["label"].to_list() == [1.0, 1.0, 0.0, 0.0]
    vectors, aligned, dataset, role, group = _labelled(1500, seed=7)
    own = np.zeros((4, 6))
    own[:2, 5], own[2:, 5] = 1.0, -1.0
    coefs = []
    for weight in (0.0, 0.25, 2.0):
        model = fit_alignment(
            vectors, aligned, dataset, role, RewardSettings(principle_weight=weight), groups=group,
            examples=Examples(Texts(own), examples["label"].to_numpy(), examples["principle"].to_numpy()),
        )  # fmt: skip
        coefs.append(model.coef)
    assert coefs[0][5] + 0.3 < coefs[1][5] < coefs[2][5]
    assert np.corrcoef(coefs[0][:5], coefs[1][:5])[0, 1] > 0.95  # where labels speak, they decide
    with pytest.raises((ConfigError, ValidationError), match="one that violates"):
        Principle(name="half", statement="x", complies=("a",))
    with pytest.raises(ConfigError, match="polite is defined more than once"):
        examples_of((POLITE, POLITE))
