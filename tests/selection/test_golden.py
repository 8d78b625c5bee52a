"""Numbers of single baselines by an independent route."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.policy.pool import Pool
from curation_pipeline.selection.bad_words import word_list_hits
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.baselines.dsir import hashed_ngrams, text_log_weights
from curation_pipeline.selection.baselines.facility_location import coverage, lazy_greedy, leaves, neighbours
from curation_pipeline.selection.baselines.regmix import factor_levels
from curation_pipeline.selection.choosing import TINY, waterfill
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.policy_search import inclusion
from curation_pipeline.selection.settings import BaselineSettings
from research.synthetic_pool import synthetic_pool

from .arms import QUICK, credit_of


@pytest.fixture(scope="module")
def pool() -> Pool:
    return synthetic_pool(21, 400).pool


@given(st.integers(0, 200), st.floats(0.1, 0.8))
@settings(max_examples=15, deadline=None)
def test_lazy_greedy_is_greedy_and_keeps_its_guarantee(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    n = 10
    near = neighbours(rng.standard_normal((n, 3)).astype(np.float32), 5, n, 0.7, 0)
    mass, modular, cost = rng.random(n), 0.2 * rng.random(n), rng.integers(1, 6, n).astype(float)
    budget = float(max(share * cost.sum(), cost.max()))
    picked = lazy_greedy(near, mass, modular, cost, budget)

    plain: list[int] = []
    while len(plain) < n:
        base = coverage(near, mass, modular, np.array(plain, dtype=np.int64))
        left = [j for j in range(n) if j not in plain]
        gains = [(coverage(near, mass, modular, np.array([*plain, j])) - base) / cost[j] for j in left]
        best = left[int(np.argmax(gains))]
        if cost[plain].sum() + cost[best] > budget:
            break
        plain.append(best)
    assert picked.tolist() == plain

    sets = (np.array(s) for k in range(1, n + 1) for s in itertools.combinations(range(n), k))
    optimum = max(coverage(near, mass, modular, s) for s in sets if cost[s].sum() <= budget)
    reached = coverage(near, mass, modular, picked)
    assert reached >= (1.0 - math.exp(-cost[picked].sum() / budget)) * optimum - 1e-9


def test_neighbours_in_one_block_are_the_nearest() -> None:
    x = np.random.default_rng(3).standard_normal((60, 4)).astype(np.float32)
    near = neighbours(x, 7, 60, 0.5, 0)
    apart = np.linalg.norm(x[:, None].astype(float) - x[None].astype(float), axis=2)
    candidate = np.repeat(np.arange(60), np.diff(near.start))
    for i in range(60):
        assert set(candidate[near.client == i]) == set(np.argsort(apart[i])[:7])
    assert near.similarity[near.client == candidate].min() == 1
    np.testing.assert_array_equal(np.sort(np.concatenate(leaves(x, 16, 0))), np.arange(60))
    assert max(len(rows) for rows in leaves(x, 16, 0)) <= 16


def test_gumbel_top_k_samples_like_repeated_draws_from_the_softmax(pool: Pool) -> None:
    rows = np.arange(6)
    few = Pool.from_frame(synthetic_pool(21, 400).frame[:6])
    few = dataclasses.replace(few, n_tokens=np.full(6, 10))
    choice = BaselineSettings(gumbel_temperature=0.2, safety_weight=1.0, alignment_weight=0.0)
    trials = 1200
    selector = baseline("gumbel_top_k", choice)
    ours = np.mean([selector.scores(few, 30, seed).probability == 1 for seed in range(trials)], axis=0)

    odds = np.exp(few.safety.astype(float) / 0.2)
    exact = np.zeros(6)
    for order in itertools.permutations(rows, 3):
        p, left = 1.0, odds.sum()
        for i in order:
            p *= odds[i] / left
            left -= odds[i]
        exact[list(order)] += p
    np.testing.assert_allclose(ours, exact, atol=4 * 0.5 / math.sqrt(trials))


def test_dsir_weights_are_those_of_counted_ngrams() -> None:
    texts = pl.Series(["The cat sat. The cat ran!?", "a dog, a café", "rain fell on_the plain \u201c9\u201d", ""])
    target = pl.Series(["the cat ran on the plain", "a cat sat"])
    ids = pl.Series([f"{i:032x}" for i in range(4)])
    choice = BaselineSettings(dsir_buckets=1_000_000, dsir_smoothing=1e-6)

    def reader(wanted: pl.Series) -> pl.Series:
        return pl.Series([texts[ids.to_list().index(name)] for name in wanted])

    ours = text_log_weights(ids, reader, [target], choice)

    def grams(text: str) -> list[tuple[str, ...]]:
        parts = re.findall(r"\w+|[^\w\s]+", text.lower())
        return [tuple(parts[i : i + n]) for n in (1, 2) for i in range(len(parts) - n + 1)]

    there = Counter(gram for text in texts for gram in grams(text))
    wanted = Counter(gram for text in target for gram in grams(text))
    expected = [
        sum(
            math.log(wanted[gram] / wanted.total() + 1e-6) - math.log(there[gram] / there.total() + 1e-6)
            for gram in grams(text)
        )
        for text in texts
    ]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    assert hashed_ngrams(texts, 2, 10)[2].tolist() == [8, 5, 7, 0]
    short = text_log_weights(ids, reader, [target], choice.model_copy(update={"dsir_minimum_tokens": 6}))
    assert (short < -1e9).tolist() == [False, True, False, True]


def test_dsir_prefers_what_its_target_is_made_of(pool: Pool) -> None:
    kind = np.arange(len(pool)) % 2
    texts = {
        name: ("rain on the hills" if k else "votes in the house") for name, k in zip(pool.doc_id, kind, strict=True)
    }
    inputs = Inputs(
        texts=lambda ids: pl.Series([texts[name] for name in ids]), target=pl.Series(["rain in the hills"] * 3)
    )
    scores = baseline("dsir", QUICK, inputs).scores(pool, pool.total_tokens // 5, 0)
    assert (kind[scores.probability > TINY] == 1).all()


def test_exp3_turns_to_the_stratum_that_pays() -> None:
    pool = synthetic_pool(22, 2_000).pool
    good = pool.topic.code == np.bincount(pool.topic.code).argmax()
    safety = np.where(good, 1.0, 0.2).astype(np.float32)
    rich = dataclasses.replace(pool, safety=safety, stratum=pool.topic, n_tokens=np.full(len(pool), 10))
    choice = BaselineSettings(bandit_rounds=600, alignment_weight=0.0)
    share = np.mean(
        [(baseline("exp3", choice).scores(rich, 6000, seed).probability == 1)[good].mean() for seed in range(5)]
    )
    assert share > 1.6 * 6000 / rich.total_tokens


def test_regmix_draws_what_the_regression_rewards(pool: Pool) -> None:
    credit = credit_of(pool)
    selector = baseline("regmix", QUICK.model_copy(update={"mixtures": 600}), Inputs(credit=credit))
    probability = selector.scores(pool, pool.total_tokens // 5, 0).probability
    clean = pool.toxicity_bin == 0
    assert probability[clean].mean() > 2 * probability[pool.toxicity_bin == 3].mean()
    assert probability @ pool.n_tokens == pytest.approx(pool.total_tokens // 5, rel=1e-6)
    levels = factor_levels(("t1|b0|x", "t1|b1|y", "t2|b0|x"))
    assert [level.tolist() for level in levels] == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_cross_entropy_finds_a_linear_optimum(pool: Pool) -> None:
    tokens = pool.n_tokens.astype(float)

    def evaluate(weights: np.ndarray) -> float:
        return float((weights * tokens) @ pool.quality / (weights @ tokens))

    asked = []

    def counted(weights: np.ndarray) -> float:
        asked.append(float(weights @ tokens))
        return evaluate(weights)

    choice = QUICK.model_copy(update={"search_evaluations": 900})
    probability = baseline("cross_entropy", choice, Inputs(evaluate=counted)).scores(pool, 5000, 0).probability
    assert len(asked) == 900
    np.testing.assert_allclose(asked, 5000, rtol=1e-6)
    order = np.argsort(-pool.quality)
    best = np.zeros(len(pool))
    best[order[np.cumsum(tokens[order]) <= 5000]] = 1.0
    assert evaluate(probability) > 0.75 * evaluate(best) + 0.25 * evaluate(np.ones(len(pool)))


@given(st.lists(st.tuples(st.floats(-30, 30), st.integers(1, 500)), min_size=1, max_size=30), st.floats(0.01, 0.99))
@settings(deadline=None)
def test_inclusion_meets_the_share(rows: list[tuple[float, int]], share: float) -> None:
    logits, tokens = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    assert inclusion(logits, tokens, share) @ tokens == pytest.approx(share * tokens.sum(), rel=1e-5)


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.one_of(st.just(0.0), st.floats(0.01, 100))), min_size=1, max_size=20),
    st.floats(0.001, 1.2),
)
@settings(deadline=None)
def test_spread_is_proportional_where_nothing_is_exhausted(rows: list[tuple[int, float]], share: float) -> None:
    tokens, wanted = np.array([float(row[0]) for row in rows]), np.array([row[1] for row in rows])
    budget = share * tokens.sum()
    given_out = waterfill(tokens, budget, wanted)
    assert given_out.sum() == pytest.approx(min(budget, tokens.sum()), rel=1e-9)
    assert (given_out <= tokens * (1 + 1e-12)).all()
    open_ = (given_out < tokens * (1 - 1e-9)) & (wanted > 0)
    if open_.any():
        ratio = given_out[open_] / wanted[open_]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
        exhausted = (wanted > 0) & ~open_
        assert (tokens[exhausted] <= ratio[0] * wanted[exhausted] * (1 + 1e-9)).all()


def test_word_list_hits_are_whole_words_and_phrases() -> None:
    texts = pl.Series(
        ["You idiot! IDIOTS are idiot-proof.", "shut\nup, shut the door up", None, "Shut up shut up", "up"]
    )
    assert word_list_hits(texts, ["idiot", "shut up", "!?"]).tolist() == [2, 1, 0, 2, 0]
    beside = pl.Series(
        [
            "他是idiot吗",
            "나는idiot이다",
            "คนidiotมาก",
            "\u043e\u043d idiot\u0430",
            "idiotic",
            "\u3070\u304b",
            "\u306f\u304b",
        ]
    )
    assert word_list_hits(beside, ["idiot", "\u3070\u304b"]).tolist() == [1, 1, 1, 1, 0, 1, 0]
    assert word_list_hits(pl.Series(["shut", "up"]), ["shut up"]).tolist() == [0, 0], "not across texts"
    assert word_list_hits(pl.Series([], dtype=pl.Utf8), ["idiot"]).tolist() == []
