from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from curation_pipeline.errors import ConfigError, MissingModelError, TrainingDivergedError
from curation_pipeline.policy.card import policy_card
from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.ppo import TrainingSummary, _load, _model, train_policy
from curation_pipeline.policy.problem import prepare
from curation_pipeline.policy.scoring import (
    frozen_on,
    load_policy,
    policy_rule,
    score_pool,
    state_observations,
    with_budget,
)
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.draw import draw
from curation_pipeline.selection.policy_selector import PolicySelector
from curation_pipeline.selection.protocol import Selector
from research.set_value import random_value, set_value
from research.synthetic_pool import DIALECT, SyntheticPool, synthetic_pool

from .conftest import SMALL, Trained, objective

Trainings = Callable[[float], tuple[TrainingSummary, float]]


def drawn_weights(selector: Selector, pool: SyntheticPool) -> np.ndarray:
    scores = selector.scores(pool.pool, pool.budget_tokens, 0)
    return draw(pool.pool.doc_id, scores.probability, scores.weight, pool.pool.n_tokens, pool.budget_tokens, 0).weight


def test_a_short_training_beats_random_and_threshold_on_another_pool(trained: Trained) -> None:
    pool = synthetic_pool(1)
    weights = {
        "policy": drawn_weights(PolicySelector(trained.summary.folder, trained.objective), pool),
        "random": drawn_weights(baseline("random"), pool),
        "threshold": drawn_weights(baseline("threshold"), pool),
    }
    value = {name: pool.truth(weight)[2] for name, weight in weights.items()}
    assert value["policy"] > value["threshold"] + 0.02 > value["random"] + 0.1
    mass = weights["policy"] * pool.pool.n_tokens
    topics = np.bincount(pool.topic, weights=mass, minlength=24) / mass.sum()
    assert (topics > 0).all(), "no topic may vanish"
    assert topics[DIALECT] > 0.01, "benign dialect text must stay"
    used = pool.pool.n_tokens[weights["policy"] > 0].sum() / pool.budget_tokens
    assert 0.999 < used <= 1


def test_training_is_healthy(trained: Trained) -> None:
    frame = trained.summary.frame()
    curve = {name: frame[name].cast(float).to_numpy() for name in frame.columns}
    assert curve["candidates"][-1] == trained.summary.candidates == 131_072
    assert np.mean(curve["budget_use"][-8:]) == pytest.approx(1, abs=0.2)
    assert 0.02 < curve["entropy"][-1] < curve["entropy"][0]
    last = np.array([record.actions for record in trained.summary.curve[-8:]]).mean(axis=0)
    assert 0.6 < last[0] < 0.95, "neither nothing nor everything"
    assert curve["explained_variance"][-8:].mean() > curve["explained_variance"][:8].mean()
    gains = [episode.gain for episode in trained.summary.episodes]
    assert np.mean(gains[-2:]) > np.mean(gains[:2]), "the reward itself falls while the market tightens"


HALF = 196_608
"""Half of the default number of candidates, which has to be enough."""


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """A training for a share of the pool's tokens, and its value above random."""

    @cache
    def run(share: float) -> tuple[TrainingSummary, float]:
        pool = synthetic_pool(101)
        goal = objective(int(share * pool.pool.total_tokens))
        settings = PolicySettings(cold_start_candidates=HALF)
        folder = tmp_path_factory.mktemp("training")
        summary = train_policy(pool.pool, goal, settings, 1, None, folder)
        policy = load_policy(folder)
        ready = prepare(pool.pool, goal, policy.normaliser, settings)
        found = score_pool(policy, pool.pool, goal, goal.budget_tokens)
        best = closed_form_scores(pool.pool, goal, settings, goal.budget_tokens, 1)
        value, control = (set_value(ready, x.probability, x.weight).value for x in (found, best))
        chance = random_value(ready).value
        assert value > 0.98 * control
        return summary, (value - chance) / (control - chance)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.13])
def test_a_training_meets_its_budget(trainings: Trainings, share: float) -> None:
    uses = [episode.budget_use for episode in trainings(share)[0].episodes]
    assert np.mean(uses[-5:]) == pytest.approx(1, abs=0.05)
    assert min(uses[1:]) > 0.3, "no episode selects nothing"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.13])
def test_a_training_reaches_the_value_of_the_closed_form(trainings: Trainings, share: float) -> None:
    assert trainings(share)[1] > 0.98


@pytest.mark.slow
def test_a_small_budget_does_not_end_in_selecting_nothing(tmp_path: Path) -> None:
    pool = synthetic_pool(101)
    goal = objective(pool.pool.total_tokens // 20)
    settings = PolicySettings(cold_start_candidates=98_304)
    summary = train_policy(pool.pool, goal, settings, 2, None, tmp_path / "policy")
    assert summary.budget_use > 0.8
    with pytest.raises(TrainingDivergedError, match="selecting nothing"):
        train_policy(
            pool.pool, goal, settings.model_copy(update={"initial_price": 50.0, "price_rate": 0.0}), 2, None, tmp_path
        )


def test_numpy_gives_the_logits_of_stable_baselines(trained: Trained) -> None:
    pool = synthetic_pool(2, 3_000)
    policy = load_policy(trained.summary.folder)
    state = frozen_on(policy_rule(policy), pool.pool, with_budget(trained.objective, pool.budget_tokens))
    observations = state_observations(state)
    ready = prepare(pool.pool, trained.objective, policy.normaliser, trained.settings)
    model = _model(SelectionEnv(ready, np.random.default_rng(0)), trained.settings, 0)
    _load(model, policy.network)
    with torch.no_grad():
        distribution = model.policy.get_distribution(torch.from_numpy(observations)).distribution
    assert isinstance(distribution, torch.distributions.Categorical)
    ours = state.logits - np.logaddexp.reduce(state.logits, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, distribution.logits.numpy(), atol=2e-4)


def test_same_seed_same_bytes_and_no_global_traces(small: SyntheticPool, tmp_path: Path) -> None:
    goal = objective(small.budget_tokens)
    random.seed(1)
    before = random.getstate(), np.random.get_state(legacy=False), torch.random.get_rng_state(), torch.get_num_threads()
    for name in ("a", "b"):
        train_policy(small.pool, goal, SMALL, 7, None, tmp_path / name)
    train_policy(small.pool, goal, SMALL, 8, None, tmp_path / "c")
    for file in ("policy.safetensors", "policy.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()
    assert random.getstate() == before[0]
    assert str(np.random.get_state(legacy=False)) == str(before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])
    assert torch.get_num_threads() == before[3]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".safetensors", ".json")]


def test_warm_start_goes_on_learning(small: SyntheticPool, tmp_path: Path) -> None:
    goal = objective(small.budget_tokens)
    train_policy(small.pool, goal, SMALL, 7, None, tmp_path / "a")
    other = synthetic_pool(6, 1_500)
    summary = train_policy(other.pool, goal, SMALL, 8, tmp_path / "a", tmp_path / "b")
    assert summary.candidates == SMALL.warm_start_candidates
    assert summary.kl_to_parent is not None
    assert 0 < summary.kl_to_parent < 1
    old, new = load_policy(tmp_path / "a"), load_policy(tmp_path / "b")
    np.testing.assert_array_equal(old.normaliser.mean, new.normaliser.mean)
    moved = np.abs(new.network["action_net.weight"] - old.network["action_net.weight"]).mean()
    assert 0 < moved < 0.2, "trained further, from the parent's weights"
    settings = SMALL.model_copy(update={"net_arch": (8,)})
    with pytest.raises(ConfigError, match="net_arch"):
        train_policy(other.pool, goal, settings, 8, tmp_path / "a", tmp_path / "c")
    with pytest.raises(MissingModelError, match=r"policy\.safetensors"):
        load_policy(tmp_path / "nowhere")
    written = tmp_path / "a" / "policy.json"
    written.write_text(written.read_text().replace('"version": 3', '"version": 2'))
    with pytest.raises(ConfigError, match="earlier version"):
        train_policy(other.pool, goal, SMALL, 8, tmp_path / "a", tmp_path / "c")


def test_card_tells_what_the_policy_does(trained: Trained) -> None:
    pool = synthetic_pool(3, 9_000)  # more than the card looks at one by one
    policy = load_policy(trained.summary.folder)
    card = policy_card(policy, pool.pool, trained.objective, pool.budget_tokens)
    effect = dict(card.effects.iter_rows())
    assert effect["p_harm"] < 0
    bins = card.rates.filter(axis="toxicity_bin").sort("name")
    assert bins["selected"][0] > 3 * bins["selected"][-1]
    scores = score_pool(policy, pool.pool, trained.objective, pool.budget_tokens)
    domains = card.rates.filter(axis="domain")
    assert (domains["tokens"] * domains["selected"]).sum() == pytest.approx(scores.probability @ pool.pool.n_tokens)
    assert "percentage points" in card.markdown


def test_the_record_holds_no_clock_and_no_path(trained: Trained) -> None:
    text = (trained.summary.folder / "policy.json").read_text()
    record = json.loads(text)
    assert "seconds" not in text
    assert str(trained.summary.folder) not in text
    assert PolicySettings.model_validate_json(json.dumps(record["settings"])) == trained.settings
    assert len(record["learning_curve"]) == len(trained.summary.curve)
