from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.ppo import TrainingSummary, train_policy
from curation_pipeline.policy.settings import PolicySettings
from research.synthetic_pool import SyntheticPool, synthetic_pool

SMALL = PolicySettings(
    n_parallel_candidates=64,
    episode_candidates=512,
    cold_start_candidates=1_024,
    warm_start_candidates=512,
    rollout_steps=4,
    batch_size=64,
    n_epochs=2,
    net_arch=(16, 8),
    random_features=16,
)
"""A training of a fraction of a second, for what does not need a good policy."""


def objective(budget_tokens: int) -> Objective:
    return Objective(0.4, 0.1, 0.5, 0.0, None, budget_tokens)


@dataclass(frozen=True)
class Trained:
    settings: PolicySettings
    objective: Objective
    summary: TrainingSummary


@pytest.fixture(scope="session")
def small() -> SyntheticPool:
    return synthetic_pool(5, 1_500)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A short training with the demo's settings, on a pool that no test draws from."""
    pool = synthetic_pool(100)
    settings = PolicySettings(cold_start_candidates=131_072)
    folder: Path = tmp_path_factory.mktemp("policy")
    goal = objective(pool.budget_tokens)
    return Trained(settings, goal, train_policy(pool.pool, goal, settings, 0, None, folder))
