from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.annotate import semantic_duplicates as module
from curation_pipeline.annotate.semantic_duplicates import SCHEMA, semantic_duplicates, with_semantic
from curation_pipeline.errors import DataError


def planted(n: int = 500, d: int = 64, copies: int = 60) -> tuple[pl.Series, np.ndarray, np.ndarray]:
    """Random directions, the last ``copies`` of them near the first ones; topics of unequal size."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, d))
    vectors[n - copies :] = vectors[:copies] + 0.01 * rng.standard_normal((copies, d))
    topics = np.arange(n) % 3
    topics[n - copies :] = topics[:copies]
    ids = pl.Series([f"{i:032x}" for i in rng.permutation(n)])
    return ids, vectors.astype(np.float32), topics


def test_planted_pairs_are_found_in_any_order_and_block(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, vectors, topics = planted()
    found = semantic_duplicates(ids, vectors, topics, 0.99, np.arange(500))
    assert dict(found.schema) == SCHEMA
    assert dict(found.select("doc_id", "kept_doc_id").iter_rows()) == {ids[440 + i]: ids[i] for i in range(60)}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = dict(zip(ids[440:], (unit[440:] * unit[:60]).sum(1), strict=True))
    for doc_id, similarity in found.select("doc_id", "similarity").iter_rows():
        assert similarity == pytest.approx(cosines[doc_id], abs=1e-4)
    order = np.random.default_rng(1).permutation(500)
    monkeypatch.setattr(module, "BLOCK", 7)
    again = semantic_duplicates(ids.gather(order), 3 * vectors[order], topics[order], 0.99, order)
    assert again.equals(found)


def test_against_the_plain_greedy_rule() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((300, 3)).astype(np.float32)
    ids = pl.Series([f"{i:03d}" for i in range(300)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = (unit @ unit.T).round(4)
    kept: list[int] = []
    expected = {}
    for i in range(300):
        near = [k for k in kept if cosine[i, k] >= np.float32(0.97)]
        if near:
            expected[ids[i]] = ids[max(near, key=lambda k: (cosine[i, k], -k))]
        else:
            kept.append(i)
    found = semantic_duplicates(ids, vectors, np.zeros(300, dtype=int), 0.97)
    assert dict(found.select("doc_id", "kept_doc_id").iter_rows()) == expected
    assert 20 < len(expected) < 280
    left = np.array(kept)
    assert semantic_duplicates(ids.gather(left), vectors[left], np.zeros(left.size), 0.97).is_empty()


def test_other_topics_zero_vectors_and_empty_input() -> None:
    vectors = np.ones((4, 8), dtype=np.float32)
    ids = pl.Series(["a", "b", "c", "d"])
    assert semantic_duplicates(ids, vectors, np.arange(4), 0.9).is_empty()
    assert semantic_duplicates(ids, np.zeros((4, 8)), np.zeros(4), 0.9).is_empty()
    assert dict(semantic_duplicates(ids[:0], vectors[:0], np.zeros(0), 0.9).schema) == SCHEMA
    with pytest.raises(DataError, match="one of each"):
        semantic_duplicates(ids, vectors[:3], np.zeros(4), 0.9)
    with pytest.raises(DataError, match="twice"):
        semantic_duplicates(pl.Series(["a", "a"]), vectors[:2], np.zeros(2), 0.9)


def test_entered_into_the_clusters() -> None:
    clusters = pl.DataFrame(
        {
            "doc_id": ["a", "b", "c", "a"],
            "partition": ["p", "p", "p", "q"],
            "cluster_id": ["a", "b", "b", "a"],
            "cluster_size": pl.Series([2, 2, 2, 2], dtype=pl.Int32),
            "kept": [True, True, False, False],
            "kept_doc_id": ["a", "b", "b", "a"],
            "kind": [None, None, "near", "exact"],
            "similarity": pl.Series([1.0, 1.0, 0.9, 1.0], dtype=pl.Float32),
            "reason": ["", "", "near duplicate", "same text"],
        }
    )
    pairs = pl.DataFrame({"doc_id": ["b"], "kept_doc_id": ["a"], "similarity": [0.9961]}, schema=SCHEMA)
    entered = with_semantic(clusters, pairs)
    assert entered.columns == clusters.columns
    assert entered["kept"].to_list() == [True, False, False, False]
    assert entered["kept_doc_id"].to_list() == ["a", "a", "b", "a"]
    assert entered["kind"].to_list() == [None, "semantic", "near", "exact"]
    assert entered["reason"][1] == "semantic duplicate (cosine 0.9961) of a"
    assert with_semantic(clusters, pairs[:0]).equals(clusters)
