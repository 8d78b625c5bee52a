from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from research.oracle import oracle_weights, reader_weights
from research.synthetic_pool import SyntheticPool, synthetic_pool


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_nearly_as_good_as_brute_force(seed: int) -> None:
    """Every subset and weight of eight documents within half of their tokens; of one length, as knapsacks are another
    problem, and one that a budget of many documents does not have."""
    drawn = synthetic_pool(seed, 8)
    tokens = np.full(8, 100)
    pool = replace(drawn, pool=replace(drawn.pool, n_tokens=tokens))
    budget = int(0.5 * tokens.sum())
    best = 0.0
    for levels in product((0.0, 0.5, 1.0, 2.0), repeat=8):
        weights = np.array(levels)
        if tokens[weights > 0].sum() <= budget:
            best = max(best, pool.truth(weights)[2])
    found = oracle_weights(pool, budget)
    assert tokens[found > 0].sum() <= budget
    assert pool.truth(found)[2] > 0.97 * best


def test_knowing_more_is_worth_more(small: SyntheticPool) -> None:
    budget = small.budget_tokens
    oracle, reader = oracle_weights(small, budget), reader_weights(small, budget)
    assert 0.999 < small.pool.n_tokens[oracle > 0].sum() / budget <= 1.0
    assert not small.harmful[oracle > 0].any()
    known, read = small.truth(oracle)[2], small.truth(reader)[2]
    chance = np.random.default_rng(0).random(len(small.pool)) < 0.2
    assert known > read + 0.05
    assert read > small.truth(chance.astype(float))[2] + 0.15
