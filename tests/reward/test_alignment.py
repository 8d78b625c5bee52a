from __future__ import annotations

import numpy as np
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.reward.alignment import alignment_quality, fit_alignment
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
