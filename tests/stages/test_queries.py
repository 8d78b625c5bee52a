"""Questions to a pool, against the same answers computed with Polars."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.queries import PoolQuery, selection_history

N = 5_000


def make(lake: Lake, table: str, iteration: str, frames: dict[str, pl.DataFrame]) -> Manifest:
    def write(draft: Draft) -> None:
        for name, frame in frames.items():
            draft.keyed(frame, name)

    return lake.build(Recipe(table, {"chain": "main", "iteration": iteration}, (), {}, 0, "1"), write)


@pytest.fixture
def pool() -> pl.DataFrame:
    random = np.random.default_rng(4)
    return pl.DataFrame(
        {
            "doc_id": [f"{value:032x}" for value in random.permutation(N)],
            "source": random.choice(["a", "b", "c"], N, p=[0.7, 0.29, 0.01]),
            "stratum": random.choice(["t0|b0", "t1|b0"], N),
            "p_harm": random.random(N).astype(np.float32),
            "vector": pl.Series(random.random((N, 4)).astype(np.float32), dtype=pl.Array(pl.Float32, 4)),
        }
    )


def test_conditions_and_samples(lake: Lake, pool: pl.DataFrame) -> None:
    query = PoolQuery(lake, make(lake, "pool", "0001", {"data": pool, "removed": pool.head(0)}))
    assert query.rows == N
    assert "vector" not in query.columns

    clean = pool.filter(pl.col("p_harm") < 0.2, source="b").sort("doc_id")
    assert query.where("p_harm < 0.2 and source = 'b'").equals(clean.drop("vector"))

    sample = query.sample(60, by="source", condition="p_harm < 0.5")
    left = dict(pool.filter(pl.col("p_harm") < 0.5)["source"].value_counts().iter_rows())
    assert dict(sample["source"].value_counts().iter_rows()) == {name: min(60, n) for name, n in left.items()}
    smaller = query.sample(10, by="source", condition="p_harm < 0.5")
    assert set(smaller["doc_id"]) <= set(sample["doc_id"])
    assert (
        query.sample(60, by="source", seed=1)["doc_id"].to_list() != query.sample(60, by="source")["doc_id"].to_list()
    )
    # A sample is random within its stratum: its mean is that of the stratum.
    many = query.sample(1000, by="stratum")["p_harm"].to_numpy().mean()
    assert many == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("condition", ["no_such_column > 1", "p_harm <", "1; drop view pool"])
def test_a_wrong_condition_is_one_clear_message(lake: Lake, pool: pl.DataFrame, condition: str) -> None:
    query = PoolQuery(lake, make(lake, "pool", "0001", {"data": pool, "removed": pool.head(0)}))
    with pytest.raises(ConfigError, match="the query fails"):
        query.where(condition)
    with pytest.raises(ConfigError, match="no column 'colour'"):
        query.sample(3, by="colour")


def test_the_history_of_a_document(lake: Lake, pool: pl.DataFrame) -> None:
    doc_id = pool["doc_id"][0]
    decisions = pool.select("doc_id", probability=pl.lit(0.25), drawn=pl.col("doc_id") == doc_id, weight=pl.lit(0.5))
    none = pl.DataFrame(schema={"doc_id": pl.Utf8, "cause": pl.Utf8, "detail": pl.Utf8})
    gone = pl.DataFrame({"doc_id": [doc_id], "cause": ["takedown request"], "detail": ["erasure"]})
    make(lake, "pool", "0001", {"data": pool, "removed": none})
    make(lake, "batches", "0001", {"data": pool.head(1), "decisions": decisions})
    make(lake, "pool", "0002", {"data": pool.filter(pl.col("doc_id") != doc_id), "removed": gone})
    history = selection_history(lake, [doc_id])
    assert history["outcome"].to_list() == ["drawn", "removed: takedown request (erasure)"]
    assert history["probability"].to_list() == [0.25, None]
    assert history["stratum"][0] == pool["stratum"][0]
