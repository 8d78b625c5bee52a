from __future__ import annotations

import numpy as np

from research.synthetic_pool import COUNTER, DIALECT, FORUM, SyntheticPool, synthetic_pool


def test_seeded_and_as_described() -> None:
    pool = synthetic_pool(3, 6_000)
    assert pool.frame.equals(synthetic_pool(3, 6_000).frame)
    assert not pool.frame.equals(synthetic_pool(4, 6_000).frame)
    forum = np.isin(pool.topic, FORUM)
    assert abs(pool.harmful[forum].mean() - 0.45) < 0.04
    assert abs((pool.topic == DIALECT).mean() - 0.03) < 0.01
    assert abs(pool.implicit.sum() / pool.harmful.sum() - 1 / 3) < 0.05
    lexical = pool.frame["lexical"].to_numpy()
    benign = ~pool.harmful
    special = benign & ((pool.topic == DIALECT) | (pool.topic == COUNTER))
    assert np.median(lexical[special]) > 0.5 > np.median(lexical[pool.implicit])


def test_truth(small: SyntheticPool) -> None:
    uniform = np.ones(len(small.pool))
    safety, capability, performance = small.truth(uniform)
    assert performance == (safety + capability) / 2
    np.testing.assert_allclose(small.truth(2 * uniform), small.truth(uniform))
    clean = small.truth(np.where(small.harmful, 0.0, 1.0))
    assert clean[0] > 0.85 - 1e-9
    assert clean[0] > safety
    one_topic = small.truth((small.topic == 0).astype(float))
    assert one_topic[1] < capability
    assert small.truth(0 * uniform)[1] == 0
