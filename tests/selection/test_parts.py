"""Baselines that decide a pool part by part draw what they would draw of the whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.lake.keyed import write_keyed
from curation_pipeline.policy.pool import Pool
from curation_pipeline.selection import parts
from curation_pipeline.selection.baselines import BASELINES, baseline
from curation_pipeline.selection.draw import decision_rows, draw
from curation_pipeline.selection.parts import InParts
from curation_pipeline.selection.protocol import PoolFile, Selector
from research.synthetic_pool import SyntheticPool, synthetic_pool

from .arms import QUICK, flags_of, inputs_of

LEAST = {"exp3": 0.35, "cross_entropy": 0.35, "facility_location": 0.35, "random": 1.0}
"""Share of the tokens of a batch that both ways draw; searches and greedy choices have many answers of like value."""


@pytest.fixture(scope="module")
def made() -> SyntheticPool:
    return synthetic_pool(41, 6_000)


@pytest.fixture
def file(made: SyntheticPool, tmp_path: Path) -> PoolFile:
    write_keyed(made.frame, tmp_path / "pool.parquet")
    return PoolFile(tmp_path / "pool.parquet", tmp_path)


def decided(file: PoolFile, made: SyntheticPool, name: str) -> pl.DataFrame:
    """All decisions of a baseline, with what it needs of each part."""
    whole = made.pool
    place = {doc_id: row for row, doc_id in enumerate(whole.doc_id)}
    inputs = inputs_of(whole)

    def selector(doc_ids: pl.Series) -> Selector:
        rows = np.array([place[doc_id] for doc_id in doc_ids])
        own = {rule: passes[rows] for rule, passes in flags_of(whole).items()}
        return baseline(name, QUICK, dataclasses.replace(inputs, flags=own))

    found = [
        decision_rows(rows["doc_id"], scores, drawn).hstack(rows.select("n_tokens"))
        for rows, scores, drawn in InParts(selector).decisions(file, made.budget_tokens, 3)
    ]
    return pl.concat(found)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_small_pool_is_one_part(file: PoolFile, made: SyntheticPool, name: str) -> None:
    pool = Pool.from_frame(made.frame.sort("doc_id"))
    inputs = dataclasses.replace(inputs_of(pool))
    scores = baseline(name, QUICK, inputs).scores(pool, made.budget_tokens, 3)
    drawn = draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, made.budget_tokens, 3)
    assert decided(file, made, name).drop("n_tokens").equals(decision_rows(pool.doc_id, scores, drawn))


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_parts_draw_what_the_whole_draws(
    file: PoolFile, made: SyntheticPool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decided(file, made, name)
    monkeypatch.setattr(parts, "SHARD_ROWS", 2_000)
    cut = decided(file, made, name)
    assert cut["doc_id"].equals(whole["doc_id"])
    used = int(cut.filter("drawn")["n_tokens"].sum())
    assert made.budget_tokens - int(cut["n_tokens"].to_numpy().max()) < used <= made.budget_tokens
    both = int(cut.filter(pl.col("drawn") & whole["drawn"])["n_tokens"].sum())
    assert both / used >= LEAST.get(name, 0.85)
