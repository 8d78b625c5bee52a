from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from curation_pipeline.reward.group_shifts import fit_group_shifts
from curation_pipeline.reward.noisy_or import LEVEL_SD, StackPrior, fit_stack


def test_the_fit_is_the_maximum_of_the_posterior() -> None:
    """The same objective written out text by text and climbed without gradients."""
    random = np.random.default_rng(0)
    logits, vectors = random.normal(size=(40, 1)), random.normal(size=(40, 1))
    place = np.arange(40) % 2
    vectors[place == 1] = 0.0
    y = (random.random(40) < expit(logits[:, 0])).astype(float)
    prior = StackPrior(np.array([0.7]), np.array([0.4]), weight_sd=0.5, intercept_sd=1.1, l2=0.8)

    def posterior(theta: np.ndarray) -> float:
        w, b, c, u = theta[[0, 2, 4]], theta[[1, 3, 5]], theta[6:8], theta[8]
        value = 0.0
        for i in range(40):
            d = place[i]
            p = 1 - (1 - expit(b[d] + w[d] * logits[i, 0])) * (1 - expit(c[d] + u * vectors[i, 0]))
            value += y[i] * np.log(p) + (1 - y[i]) * np.log(1 - p)
        value -= 0.5 * sum((w[d] - w[2]) ** 2 / 0.25 + (b[d] - b[2]) ** 2 / 1.21 for d in range(2))
        value -= 0.5 * ((w[2] - 0.7) ** 2 / 0.16 + b[2] ** 2 + 0.8 * u**2 + (c**2).sum() / LEVEL_SD**2)
        return float(value)

    start = np.array([0.7, 0, 0.7, 0, 0.7, 0, -1, -1, 0.0])
    other = minimize(lambda t: -posterior(t), start, method="BFGS")
    found = fit_stack(logits, vectors, place, 2, y, np.ones(40), prior)
    assert found.weights.min() > 0  # the bound does not bind here
    ours = np.concatenate([np.column_stack([found.weights[:, 0], found.intercepts]).ravel(), found.levels, found.head])
    assert posterior(ours) == pytest.approx(-other.fun, abs=1e-3)


def test_groups_that_differ_are_shifted_and_small_ones_are_shrunk() -> None:
    random = np.random.default_rng(1)
    small = [f"s{i}" for i in range(20)]
    group = np.array(["b"] * 3000 + ["c"] * 3000 + small * 15)
    p = random.beta(1.0, 2.0, len(group))
    z = np.log(p / (1 - p)) + np.where(group == "b", 0.6, np.where(group == "c", -0.6, 0.0))
    y = (random.random(len(group)) < expit(z)).astype(float)
    shifts = fit_group_shifts(p, y, {"identity_group": group}).shifts["identity_group"]
    assert shifts["b"] == pytest.approx(0.6, abs=0.15)
    assert shifts["c"] == pytest.approx(-0.6, abs=0.15)
    alone = {name: _own_shift(p[group == name], y[group == name]) for name in small}
    spread = np.mean([abs(value) for value in alone.values()])
    assert np.mean([abs(shifts.get(name, 0.0)) for name in small]) < 0.6 * spread
    calm = (random.random(len(group)) < p).astype(float)
    for values in fit_group_shifts(p, calm, {"identity_group": group}).shifts.values():
        assert max(abs(value) for value in values.values()) < 0.3
    assert fit_group_shifts(p, calm, {"group": np.full(len(p), "")}).shifts == {}


def _own_shift(p: np.ndarray, y: np.ndarray) -> float:
    """The shift that matches the group's mean, found by bisection."""
    low, high = -6.0, 6.0
    z = np.log(p / (1 - p))
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(z + middle).mean() < y.mean() else (low, middle)
    return float(low)
