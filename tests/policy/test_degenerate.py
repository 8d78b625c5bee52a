"""Every way in which a policy can go wrong, without the mechanism that prevents it and with it.

The fast tests look at the closed form and at best responses in the environment, where only the mechanism differs; the
slow ones train PPO. Here nothing is compared with a tuned figure: the two sides of a pair differ by a multiple of what
seeds and pools change. The collapse to nothing at a price that does not move is in ``test_training``, best responses to
such a price are in ``test_environment``, projections of made-up logits in ``test_projection``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from curation_pipeline.policy.closed_form import closed_form_scores
from curation_pipeline.policy.environment import SelectionEnv
from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.keep_logits import shrink_weights
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.ppo import TrainingSummary, train_policy
from curation_pipeline.policy.problem import prepare
from curation_pipeline.policy.projection import project, sigmoid
from curation_pipeline.policy.scores import Scores
from curation_pipeline.policy.scoring import load_policy, score_pool
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.selection.draw import draw
from research.synthetic_pool import BLAND, DIALECT, N_TOPICS, SyntheticPool, synthetic_pool

SETTINGS = PolicySettings()
FREE = PolicySettings(group_floor=0.0)
"""Without floors, so that they do not do the work of what is tested."""
SHORT = PolicySettings(
    n_parallel_candidates=128, episode_candidates=2_048, rollout_steps=4, batch_size=256, cold_start_candidates=32_768
)
"""A training of a few seconds."""
LAST = 4
"""Episodes at the end of a training that its figures are a mean of."""


@pytest.fixture(scope="module")
def pool() -> SyntheticPool:
    return synthetic_pool(41, 2_000)


@pytest.fixture(scope="module")
def healthy(pool: SyntheticPool) -> Scores:
    """What the defaults choose."""
    return closed_form_scores(pool.pool, goal(pool), SETTINGS, pool.budget_tokens, 0)


def goal(pool: SyntheticPool, alpha: float = 0.4, beta: float = 0.1, gamma: float = 0.5) -> Objective:
    return Objective(alpha, beta, gamma, 0.0, None, pool.budget_tokens)


def with_scores(pool: SyntheticPool, **columns: np.ndarray) -> SyntheticPool:
    """The same pool with other columns, such as what a detector says."""
    cast = {name: np.asarray(column, np.float32) for name, column in columns.items()}
    return replace(pool, pool=replace(pool.pool, **cast))  # type: ignore[arg-type]


def likes_harm(pool: SyntheticPool) -> SyntheticPool:
    """Alignment that rises with harm, as with a model of preferences that was fitted on the wrong labels."""
    arrays = pool.pool
    return with_scores(pool, alignment=np.clip(0.5 * arrays.alignment + 0.6 * np.sqrt(arrays.p_harm), 0.0, 1.0))


def detector_shuns_dialect(pool: SyntheticPool) -> SyntheticPool:
    """A reward model that calls every document of the dialect harmful with probability one half or more."""
    return with_scores(
        pool, safety=np.where(pool.topic == DIALECT, np.minimum(pool.pool.safety, 0.5), pool.pool.safety)
    )


@dataclass(frozen=True)
class Choice:
    """What some scores choose, in weighted tokens.

    Attributes:
        harm: mean P(harm).
        topics: e to the entropy of the topics.
        poorest: share of the poorest topic over its share of the pool.
        dialect: the same of the dialect.
        bland: share of bland topics.
        length: mean length of drawn documents over that of the pool's.
        capability: of the synthetic truth.
    """

    harm: float
    topics: float
    poorest: float
    dialect: float
    bland: float
    length: float
    capability: float


def look(pool: SyntheticPool, scores: Scores) -> Choice:
    tokens = pool.pool.n_tokens.astype(np.float64)
    mass = scores.probability * scores.weight * tokens
    mass /= mass.sum()
    topic = np.bincount(pool.topic, weights=mass, minlength=N_TOPICS)
    ratio = topic / np.bincount(pool.topic, weights=tokens / tokens.sum(), minlength=N_TOPICS)
    return Choice(
        harm=float(mass @ pool.pool.p_harm),
        topics=float(np.exp(-topic @ np.log(np.maximum(topic, 1e-12)))),
        poorest=float(ratio.min()),
        dialect=float(ratio[DIALECT]),
        bland=float(topic[list(BLAND)].sum()),
        length=float(np.average(tokens, weights=scores.probability) / tokens.mean()),
        capability=pool.truth(scores.probability * scores.weight)[1],
    )


def closed(pool: SyntheticPool, objective: Objective, settings: PolicySettings = SETTINGS) -> Choice:
    return look(pool, closed_form_scores(pool.pool, objective, settings, pool.budget_tokens, 0))


def best_responses(pool: SyntheticPool, objective: Objective, settings: PolicySettings) -> SelectionEnv:
    """The environment after ten episodes in which every candidate got its best weight."""
    normaliser = Normaliser.fit(pool.pool, settings.random_features, settings.novelty_bandwidth, 0)
    env = SelectionEnv(prepare(pool.pool, objective, normaliser, settings), np.random.default_rng(0))
    while len(env.episodes) < 10:
        env.step(env.problem.action_rewards(env._rows, env._marginal, env.market.price).argmax(axis=1))
    return env


def trained(
    pool: SyntheticPool,
    objective: Objective,
    settings: PolicySettings,
    seed: int,
    out: Path,
    parent: Path | None = None,
) -> tuple[TrainingSummary, Choice, Scores]:
    summary = train_policy(pool.pool, objective, settings, seed, parent, out)
    scores = score_pool(load_policy(out), pool.pool, objective, pool.budget_tokens)
    return summary, look(pool, scores), scores


def last_budget_use(summary: TrainingSummary, settings: PolicySettings) -> float:
    """Mean over the last episodes."""
    rollouts = settings.episode_candidates // (settings.n_parallel_candidates * settings.rollout_steps)
    uses = [record.budget_use for record in summary.curve][::-rollouts][:LAST]
    return float(np.mean([use for use in uses if use is not None]))


# Safety: a ceiling, not only a term of the reward.


def test_a_reward_that_likes_harm_fills_the_set_with_it(pool: SyntheticPool) -> None:
    liked = likes_harm(pool)
    without = closed(liked, goal(pool, 0.0, 0.5), PolicySettings(toxicity_ceiling=1.0))
    held = closed(liked, goal(pool, 0.0, 0.5))
    assert without.harm > 0.3
    assert held.harm < 1.01 * SETTINGS.toxicity_ceiling
    assert held.capability > without.capability - 0.05, "it is not bought with everything else"


def test_the_toxicity_dual_works_in_training(pool: SyntheticPool) -> None:
    liked = likes_harm(pool)
    without = best_responses(liked, goal(pool, 0.0, 0.5), SHORT.model_copy(update={"toxicity_dual_rate": 0.0}))
    held = best_responses(liked, goal(pool, 0.0, 0.5), SHORT)
    assert np.mean([episode.mean_harm for episode in without.episodes[-LAST:]]) > 0.3
    assert np.mean([episode.mean_harm for episode in held.episodes[-LAST:]]) < 0.075
    assert 0.1 < held.market.duals.toxicity < SHORT.dual_max


def test_the_draw_meets_the_ceiling(pool: SyntheticPool) -> None:
    scores = closed_form_scores(pool.pool, goal(pool, 0.1, 0.4, 0.5), FREE, pool.budget_tokens, 0)
    tokens = scores.probability * pool.pool.n_tokens
    harm = [mass @ pool.pool.p_harm / mass.sum() for mass in (tokens, tokens * scores.weight)]
    assert max(harm) == pytest.approx(SETTINGS.toxicity_ceiling, rel=0.01), "drawn and weighted, and no stricter"


# Groups: a floor on benign text, whatever the detector says of it.


def test_a_detector_that_shuns_a_dialect_deletes_it(pool: SyntheticPool) -> None:
    biased = detector_shuns_dialect(pool)
    without = closed(biased, goal(pool, 0.6, 0.1, 0.3), FREE)
    held = closed(biased, goal(pool, 0.6, 0.1, 0.3))
    assert without.dialect < 0.1
    assert held.dialect > 0.45
    assert held.harm < SETTINGS.toxicity_ceiling, "the floor does not break the ceiling"


def test_the_floor_holds_against_a_policy_that_is_sure() -> None:
    """Log-odds of -60 are what PPO gave a shunned dialect when no dual had spoken for it in training."""
    rng = np.random.default_rng(0)
    group = rng.random(2_000) < 0.03
    share = np.where(group, 0.5, 0.0)[:, None]
    tokens = np.ones(len(group))
    wanted = 0.6 * share.mean(axis=0)
    odds = rng.normal(-5.0, 5.0, len(group)) - 60.0 * group
    kept = sigmoid(odds + project(odds, tokens, 400.0, share - wanted).shift)
    assert kept.sum() == pytest.approx(400, rel=1e-6)
    assert float(kept @ share[:, 0]) / 400 > 0.99 * wanted[0]


# Coverage: gains that fall with what is already there.


@pytest.mark.parametrize("alone", ["gamma", "novelty_share"])
def test_without_coverage_a_few_topics_take_everything(pool: SyntheticPool, alone: str) -> None:
    """Without diversity the best-liked topics win; with novelty alone the strange ones, as no topic is ever full."""
    objective = goal(pool, 0.1, 0.4, 0.5)
    if alone == "gamma":
        without = closed(pool, replace(objective, gamma=0.0), FREE)
    else:
        without = closed(pool, objective, FREE.model_copy(update={"novelty_share": 1.0}))
    covered = closed(pool, objective, FREE)
    assert without.poorest < 0.01
    assert covered.poorest > 0.04
    assert covered.topics > 1.25 * without.topics
    assert covered.capability > without.capability + 0.15


# Repeats: what was drawn before is worth less.


def test_without_decay_the_same_documents_come_back(pool: SyntheticPool, healthy: Scores) -> None:
    tokens, budget = pool.pool.n_tokens, pool.budget_tokens
    again = {}
    for decay in (1.0, 0.5):
        scores, times = healthy, np.zeros(len(pool.pool), np.int32)
        for night in range(3):
            if night and decay < 1.0:  # at 1 every night has the scores of the first
                tonight = replace(pool.pool, n_drawn=times)
                scores = closed_form_scores(tonight, goal(pool), PolicySettings(repeat_decay=decay), budget, 0)
            before = times.copy()
            drawn = draw(pool.pool.doc_id, scores.probability, scores.weight, tokens, budget, night).drawn
            times = times + drawn.astype(np.int32)
            again[decay] = tokens[drawn & (before > 0)].sum() / tokens[drawn].sum()
    assert again[1.0] > 0.65
    assert again[0.5] < 0.87 * again[1.0]


def test_decay_also_rotates_what_only_a_floor_keeps(pool: SyntheticPool) -> None:
    biased = detector_shuns_dialect(pool)
    dialect, odd = biased.topic == DIALECT, np.arange(len(biased.topic)) % 2 == 1
    repeated = replace(biased.pool, n_drawn=np.where(odd, 3, 0).astype(np.int32))
    probability = closed_form_scores(repeated, goal(pool, 0.6, 0.1, 0.3), SETTINGS, pool.budget_tokens, 0).probability
    assert probability[dialect & odd].mean() < probability[dialect & ~odd].mean()


# Effective sample size: a batch must not rest on a few documents.


def test_extreme_weights_make_a_batch_of_a_few_documents(pool: SyntheticPool) -> None:
    """Three documents in a hundred weigh a hundred times the others, as actions of 0, .1 and 10 allow."""
    arrays = pool.pool
    liked = arrays.alignment > np.quantile(arrays.alignment, 0.97)
    even, extreme = np.full(len(arrays), 0.2), np.where(liked, 10.0, 0.1)
    sums = [float((even * arrays.n_tokens) @ part) for part in (np.ones(len(arrays)), extreme, extreme**2)]
    assert sums[1] ** 2 / sums[2] / sums[0] < 0.1, "Kish's effective share"
    held = 1.0 + shrink_weights(*sums, 0.5) * (extreme * sums[0] / sums[1] - 1.0)
    assert pool.truth(even * held)[1] > pool.truth(even * extreme)[1] + 0.08


def test_without_a_reference_every_weight_is_the_smallest(pool: SyntheticPool, healthy: Scores) -> None:
    """Gains near 1 for all, and u(w) / w largest at the smallest weight: the weights then say nothing."""
    settings = SETTINGS.model_copy(update={"gain_reference": None})
    without = closed_form_scores(pool.pool, goal(pool), settings, pool.budget_tokens, 0)
    spread = [np.ptp(np.quantile(x.weight[x.probability > 0.5], [0.1, 0.9])) for x in (without, healthy)]
    assert spread[0] < 0.01
    assert spread[1] > 0.3


# Length: the budget and the gain both count tokens.


def test_length_alone_is_no_reason(pool: SyntheticPool) -> None:
    """Lengths are dealt out at random: any preference among them is for length itself."""
    lengths = np.random.default_rng(1).permutation(pool.pool.n_tokens)
    dealt = replace(pool, pool=replace(pool.pool, n_tokens=lengths))
    assert closed(dealt, goal(dealt)).length == pytest.approx(1, abs=0.07)


# Quality: a feature that a policy may look at, never a reward.


def test_quality_as_a_reward_selects_short_bland_text(pool: SyntheticPool, healthy: Scores) -> None:
    rewarded = closed(with_scores(pool, alignment=pool.pool.quality), goal(pool, 0.2, 0.6, 0.2))
    neutral = look(pool, healthy)
    assert rewarded.bland > 1.5 * neutral.bland
    assert rewarded.length < 0.9 < neutral.length


def test_quality_moves_no_best_response(pool: SyntheticPool, healthy: Scores) -> None:
    other = with_scores(pool, quality=1.0 - pool.pool.quality[::-1])
    scores = closed_form_scores(other.pool, goal(pool), SETTINGS, pool.budget_tokens, 0)
    np.testing.assert_array_equal(scores.probability, healthy.probability)
    np.testing.assert_array_equal(scores.weight, healthy.weight)


# The same where PPO is what degenerates.


@pytest.mark.slow
def test_ppo_at_a_price_that_does_not_move(tmp_path: Path) -> None:
    """It spends far too much at one that is too low; the market finds the price."""
    pool = synthetic_pool(43, 2_000)
    summary, _, _ = trained(pool, goal(pool), SHORT, 0, tmp_path / "market")
    assert last_budget_use(summary, SHORT) == pytest.approx(1, abs=0.35)
    cheap = SHORT.model_copy(update={"price_rate": 0.0, "initial_price": 0.0})
    summary, _, _ = trained(pool, goal(pool), cheap, 0, tmp_path / "cheap")
    assert last_budget_use(summary, cheap) > 1.5


@pytest.mark.slow
def test_ppo_with_a_reward_that_likes_harm(tmp_path: Path) -> None:
    liked = likes_harm(synthetic_pool(43, 2_000))
    objective = goal(liked, 0.0, 0.5)
    free = SHORT.model_copy(update={"toxicity_ceiling": 1.0})
    _, without, _ = trained(liked, objective, free, 0, tmp_path / "without")
    _, held, _ = trained(liked, objective, SHORT, 0, tmp_path / "with")
    assert without.harm > 0.3
    assert held.harm < 1.01 * SHORT.toxicity_ceiling


@pytest.mark.slow
def test_ppo_with_a_detector_that_shuns_a_dialect(tmp_path: Path) -> None:
    """With the floor the group stays: its dual in training, and the projection in the draw."""
    biased = detector_shuns_dialect(synthetic_pool(43, 2_000))
    objective = goal(biased, 0.6, 0.1, 0.3)
    free = SHORT.model_copy(update={"group_floor": 0.0})
    _, without, _ = trained(biased, objective, free, 0, tmp_path / "without")
    _, held, _ = trained(biased, objective, SHORT, 0, tmp_path / "with")
    assert without.dialect < 0.15
    assert held.dialect > 0.4


@pytest.mark.slow
def test_ppo_without_decay_draws_the_same_documents_again(tmp_path: Path) -> None:
    pool = synthetic_pool(43, 2_000)
    tokens = pool.pool.n_tokens
    first = tmp_path / "first"
    _, _, scores = trained(pool, goal(pool), SHORT, 0, first)
    drawn = draw(pool.pool.doc_id, scores.probability, scores.weight, tokens, pool.budget_tokens, 0).drawn
    later = replace(pool, pool=replace(pool.pool, n_drawn=drawn.astype(np.int32)))
    again = {}
    for decay in (1.0, 0.5):
        settings = SHORT.model_copy(update={"repeat_decay": decay, "warm_start_candidates": 24_576})
        _, _, scores = trained(later, goal(pool), settings, 100, tmp_path / str(decay), first)
        again[decay] = float(scores.probability @ (tokens * drawn)) / pool.budget_tokens
    assert again[1.0] > 0.33
    assert again[0.5] < 0.85 * again[1.0]
