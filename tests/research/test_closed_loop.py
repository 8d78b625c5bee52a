from __future__ import annotations

from itertools import pairwise

import pytest

from research.closed_loop import ClosedFormLearner, SimulationSettings, run_loop
from research.synthetic_pool import synthetic_pool


@pytest.mark.parametrize("seed", [0, 1])
def test_feedback_beats_none(seed: int) -> None:
    pool = synthetic_pool(40 + seed, 2_500)
    settings = SimulationSettings(first=30, later=8)
    done = run_loop([pool] * 4, ClosedFormLearner(settings.policy), settings, seed)
    assert done[-1].performance > done[0].performance + 0.015
    assert all(after.performance >= before.performance for before, after in pairwise(done))
    assert [each.evaluations for each in done] == [1, 32, 41, 50]
    assert done[-1].r2 > 0.5


def test_a_new_pool_is_judged_on_itself() -> None:
    """With drift a policy is kept or not by what it and its parent's are worth tonight, not by last night's figure."""
    nights = [synthetic_pool(50 + night, 1_500, 0.5 * night) for night in range(3)]
    settings = SimulationSettings(first=12, later=6)
    done = run_loop(nights, ClosedFormLearner(settings.policy), settings, 0)
    assert all(each.accepted == (each.tried == each.performance) for each in done)
    assert len({each.performance for each in done}) == 3
