from __future__ import annotations

import numpy as np
import pytest

from curation_pipeline.credit.ridge import bayesian_ridge


def test_leave_one_out_is_what_refitting_gives() -> None:
    rng = np.random.default_rng(0)
    n, p = 14, 5
    x, weight, group = rng.normal(size=(n, p)), rng.uniform(0.3, 1, n), np.arange(n) % 2
    y = x @ rng.normal(size=p) + group + rng.normal(size=n)
    fit = bayesian_ridge(x, y, weight, group)
    scaled = weight / weight.mean()
    design = np.column_stack([x, group == 0, group == 1]).astype(float)
    prior = np.diag([fit.penalty] * p + [0.0, 0.0])
    missed = spread = 0.0
    for row in range(n):
        rest = np.arange(n) != row
        gram = design[rest].T @ (scaled[rest, None] * design[rest]) + prior
        solution = np.linalg.solve(gram, design[rest].T @ (scaled[rest] * y[rest]))
        peers = rest & (group == group[row])
        missed += scaled[row] * (y[row] - design[row] @ solution) ** 2
        spread += scaled[row] * (y[row] - np.average(y[peers], weights=weight[peers])) ** 2
    assert fit.r2 == pytest.approx(1 - missed / spread, rel=1e-8)


def test_the_evidence_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import BayesianRidge

    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 8))
    y = x @ np.array([2.0, -1.0, 0.5, 0, 0, 0, 0, 1.0]) + 0.7 * rng.normal(size=60)
    fit = bayesian_ridge(x, y, np.ones(60), np.zeros(60, dtype=np.int64))
    other = BayesianRidge(alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, tol=1e-8, max_iter=1_000).fit(x, y)
    np.testing.assert_allclose(fit.coefficients, other.coef_, rtol=0.01, atol=0.005)


def test_noise_earns_no_trust_and_a_true_effect_does() -> None:
    noise, planted = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(24, 30)) / np.sqrt(30)
        group, weight = np.zeros(24, dtype=np.int64), 0.85 ** (np.arange(24) // 6)
        noise.append(max(bayesian_ridge(x, rng.normal(size=24), weight, group).r2, 0.0))
        effect = rng.normal(size=30) * (np.arange(30) < 6) * 3
        planted.append(bayesian_ridge(x, x @ effect + 0.2 * rng.normal(size=24), weight, group).r2)
    assert np.mean(noise) < 0.1
    assert np.mean(planted) > 0.3
