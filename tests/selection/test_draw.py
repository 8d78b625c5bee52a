from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.draw import (
    apply,
    batch_rows,
    boundary,
    boundary_rows,
    decision_rows,
    draw,
    merge,
    rank_histogram,
    ranks,
    threshold,
)
from research.synthetic_pool import synthetic_pool


def ids(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]


documents = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 1.0, 1e-9]), st.floats(1e-6, 1)), st.integers(1, 300)),
    min_size=1,
    max_size=120,
)


@given(documents, st.integers(0, 20_000), st.integers(0, 5))
@settings(deadline=None)
def test_budget_within_one_document_certain_first_impossible_never(
    rows: list[tuple[float, int]], budget: int, seed: int
) -> None:
    p = np.array([row[0] for row in rows])
    tokens = np.array([row[1] for row in rows])
    drawn = draw(ids(len(rows)), p, np.ones(len(rows), np.float32), tokens, budget, seed).drawn
    used = int(tokens[drawn].sum())
    assert used <= budget
    left = (p > 0) & ~drawn
    rank = ranks(ids(len(rows)), p, seed)
    if left.any():
        following = np.flatnonzero(left)[np.argmin(rank[left])]
        assert used + tokens[following] > budget
        if drawn.any():
            assert rank[drawn].max() < rank[left].min()
    assert not drawn[p == 0].any()
    if (drawn & (p < 1)).any():
        assert drawn[p == 1].all()


@given(documents, st.integers(0, 20_000), st.integers(1, 5), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_shards_and_order_change_nothing(rows: list[tuple[float, int]], budget: int, k: int, rng: object) -> None:
    n = len(rows)
    names = ids(n)
    p = np.array([row[0] for row in rows])
    tokens = np.array([row[1] for row in rows])
    whole = draw(names, p, np.ones(n, np.float32), tokens, budget, 3)

    order = np.arange(n)
    rng.shuffle(order)  # type: ignore[attr-defined]
    shards = np.array_split(order, k)
    rank = [ranks([names[i] for i in shard], p[shard], 3) for shard in shards]
    histogram = merge(rank_histogram(r, tokens[shard]) for r, shard in zip(rank, shards, strict=True))
    where = boundary(histogram, budget)
    parts = [boundary_rows(r, tokens[shard], where) for r, shard in zip(rank, shards, strict=True)]
    limit = threshold(histogram, budget, parts[::-1], where)
    for r, shard in zip(rank, shards, strict=True):
        np.testing.assert_array_equal(apply(r, limit), whole.drawn[shard])
        # Redone alone, from nothing but its own documents and the recorded threshold.
        alone = ranks([names[i] for i in shard], p[shard], 3)
        np.testing.assert_array_equal(apply(alone, whole.threshold), whole.drawn[shard])


def test_second_pass_reads_few_rows() -> None:
    n = 50_000
    p = np.random.default_rng(0).uniform(0.01, 0.6, n)
    tokens = np.full(n, 10)
    rank = ranks(ids(n), p, 0)
    where = boundary(rank_histogram(rank, tokens), int(10 * p.sum()))
    assert 0 < len(boundary_rows(rank, tokens, where)[0]) < n / 1000


def test_inclusion_probabilities_are_kept() -> None:
    n = 2_000
    p = np.linspace(0.05, 0.95, n)
    tokens = np.random.default_rng(0).integers(20, 200, n)
    budget = int(p @ tokens)
    names = ids(n)
    share = np.mean([draw(names, p, np.ones(n, np.float32), tokens, budget, s).drawn for s in range(60)], axis=0)
    groups = share.reshape(20, -1).mean(axis=1)
    np.testing.assert_allclose(groups, p.reshape(20, -1).mean(axis=1), atol=0.03)


def test_tables() -> None:
    pool = synthetic_pool(0, 300).pool
    p = np.full(300, 0.5)
    p[:3] = 0.0
    scores = Scores(p, np.full(300, 1.5, np.float32), ["duplicate", "", *[""] * 298])
    drawn = draw(pool.doc_id, p, scores.weight, pool.n_tokens, 5_000, 0)
    table = decision_rows(pool.doc_id, scores, drawn)
    assert table.columns == ["doc_id", "probability", "drawn", "weight", "reason"]
    assert table["reason"][:2].to_list() == ["duplicate", "not drawn: probability 0"]
    assert set(table.filter("drawn")["reason"]) == {"drawn"}
    assert set(table.filter("drawn")["weight"]) == {1.5}
    chosen = batch_rows(pool.doc_id, pool.n_tokens, drawn)
    assert chosen["doc_id"].to_list() == table.filter("drawn")["doc_id"].to_list()
    assert 4_000 < chosen["n_tokens"].sum() <= 5_000
