from __future__ import annotations

import numpy as np
import pytest

from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.problem import SelectionProblem, prepare
from research.set_value import random_value, set_value
from research.synthetic_pool import SyntheticPool
from tests.policy.conftest import SMALL, objective


@pytest.fixture(scope="module")
def ready(small: SyntheticPool) -> SelectionProblem:
    settings = SMALL.model_copy(update={"prior_share": 1e-9})
    normaliser = Normaliser.fit(small.pool, settings.random_features, settings.novelty_bandwidth, 0)
    return prepare(small.pool, objective(small.budget_tokens), normaliser, settings)


def test_the_value_is_the_formula(small: SyntheticPool, ready: SelectionProblem) -> None:
    """By hand from the frame: novelty and coverage of the whole set at its own composition, without a prior."""
    frame = small.frame
    rng = np.random.default_rng(0)
    chosen = rng.random(frame.height) < 0.3
    weight = rng.choice([0.5, 1.0, 2.0], frame.height)
    tokens = frame["n_tokens"].to_numpy() * chosen
    scaled = weight * tokens.sum() / (tokens @ weight)
    mass = scaled * tokens / tokens.sum()
    bins = (frame["topic"].cast(str) + frame["identity_group"]).to_numpy()
    phi = ready.candidates.phi
    diversity = 0.5 * (1.0 - phi @ (mass @ phi))
    for name in np.unique(bins):
        members = bins == name
        pool_share = frame["n_tokens"].to_numpy()[members].sum() / frame["n_tokens"].sum()
        ratio = max(float(mass[members].sum()), 1e-12) / pool_share
        diversity[members] += 0.5 * np.clip(-0.5 * np.log(ratio), -1.0, 1.0)
    gain = 0.4 * (1.0 - frame["p_harm"].to_numpy()) + 0.1 * frame["alignment"].to_numpy() + 0.5 * diversity
    expected = float((tokens * np.log2(1.0 + scaled)) @ gain) / tokens.sum()
    found = set_value(ready, chosen.astype(float), weight)
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.mean_harm == pytest.approx(float(mass @ frame["p_harm"].to_numpy()), rel=1e-4)
    assert set_value(ready, chosen.astype(float), 7.0 * weight).value == pytest.approx(found.value)


def test_better_and_broader_sets_are_worth_more(small: SyntheticPool, ready: SelectionProblem) -> None:
    harm = small.frame["p_harm"].to_numpy()
    n = len(harm)
    safe = (harm < np.quantile(harm, 0.3)).astype(float)
    topic = small.frame["topic"].to_numpy()
    one_topic = (topic == 0).astype(float)
    chance = random_value(ready)
    assert chance.budget_use == pytest.approx(1.0)
    assert set_value(ready, safe, np.ones(n)).value > chance.value
    assert set_value(ready, one_topic, np.ones(n)).value < chance.value
    uneven = np.where(np.arange(n) % 2 == 0, 0.5, 2.0)
    assert set_value(ready, safe, uneven).value < set_value(ready, safe, np.ones(n)).value
    with pytest.raises(ValueError, match="empty"):
        set_value(ready, np.zeros(n), np.ones(n))
