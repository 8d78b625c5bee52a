"""A small lake with every table that dbt reads, drawn from a seeded generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.reward.parity import selection_parity
from resources.warehouse import SOURCE_SCHEMAS, WarehouseResource

BUDGET = 6_000
CHAINS = ("main", "random", "threshold")
Tables = dict[str, pl.DataFrame]


def _loop(frame: pl.DataFrame, chain: str, ordinal: int, attempt: int = 0) -> pl.DataFrame:
    return frame.with_columns(
        chain=pl.lit(chain),
        iteration=pl.lit(f"2026-01-0{ordinal + 1}-00:00"),
        ordinal=pl.lit(ordinal, pl.Int32),
        attempt=pl.lit(attempt, pl.Int32),
    )


def _draw(pool: pl.DataFrame, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    order = rng.permutation(pool.height)
    drawn = np.zeros(pool.height, dtype=bool)
    drawn[order[np.cumsum(pool["n_tokens"].to_numpy()[order]) <= BUDGET]] = True
    decisions = pool.select("doc_id").with_columns(
        probability=pl.Series(rng.uniform(0.05, 1, pool.height)),
        drawn=pl.Series(drawn),
        weight=pl.Series(np.where(drawn, rng.choice([0.5, 1.0, 2.0], pool.height), 0), dtype=pl.Float32),
        reason=pl.lit("policy"),
    )
    batch = pool.select("doc_id", "n_tokens").with_columns(decisions["weight"]).filter(decisions["drawn"])
    return decisions, batch


def make_lake() -> Tables:
    rng = np.random.default_rng(7)
    n = 400
    documents = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(n)],
            "source": ["forum" if i % 3 == 0 else "encyclopaedia" for i in range(n)],
            "snapshot": ["2026-01"] * n,
            "file": ["part.jsonl"] * n,
            "position": list(range(n)),
            "text": [f"document {i}" for i in range(n)],
            "url": [None] * n,
            "domain": ["conversation" if i % 3 == 0 else "encyclopaedia" for i in range(n)],
            "n_bytes": rng.integers(50, 500, n),
            "duplicate": [False] * n,
        }
    )
    documents = pl.concat([documents, documents.head(7).with_columns(duplicate=pl.lit(True))])
    removed = documents.slice(390, 10).select("doc_id", cause=pl.lit("contaminated"), detail=pl.lit("a benchmark"))
    pool = documents.filter(~pl.col("duplicate") & ~pl.col("doc_id").is_in(removed["doc_id"].implode()))
    n = pool.height
    pool = pool.select("doc_id", "source", "snapshot", "domain")
    pool = pool.with_columns(
        n_tokens=pl.Series(rng.integers(10, 120, n), dtype=pl.Int32),
        topic=pl.Series(rng.integers(0, 4, n), dtype=pl.Int16),
        toxicity_bin=pl.Series(rng.integers(0, 3, n), dtype=pl.Int8),
        identity_group=pl.Series(rng.choice(["none", "gender", "religion"], n, p=[0.6, 0.2, 0.2])),
        vector=pl.Series(rng.normal(size=(n, 64)).astype(np.float32), dtype=pl.Array(pl.Float32, 64)),
        p_harm=pl.Series(rng.uniform(0, 0.6, n), dtype=pl.Float32),
        # A column that no schema lists: a teacher's detector.
        alt_profanity=pl.Series(rng.uniform(0, 1, n), dtype=pl.Float32),
    ).with_columns(stratum=pl.format("t{}|b{}|{}", "topic", "toxicity_bin", "identity_group"))
    tables: dict[str, list[pl.DataFrame]] = {
        "pool": [],
        "removed": [],
        "decisions": [],
        "batches": [],
        "batch_parity": [],
        "metrics": [],
        "state": [],
    }
    for ordinal in range(3):
        tables["pool"].append(_loop(pool, "main", ordinal))
        tables["removed"].append(_loop(removed, "main", ordinal))
        for chain in CHAINS:
            # The last iteration of main was made twice; the first attempt stays where it is.
            for attempt in range(2 if (chain, ordinal) == ("main", 2) else 1):
                decisions, batch = _draw(pool, rng)
                tables["decisions"].append(_loop(decisions, chain, ordinal, attempt))
                tables["batches"].append(_loop(batch, chain, ordinal, attempt))
                seen = selection_parity(pool.with_columns(decisions["drawn"]), 10)
                tables["batch_parity"].append(_loop(seen, chain, ordinal, attempt))
                value = 0.4 + 0.1 * ordinal * (chain == "main") + 0.01 * CHAINS.index(chain) + 0.2 * attempt
                metrics = pl.DataFrame(
                    {"benchmark": ["prompts", "suite"], "metric": ["safe", "accuracy"], "value": [value, 0.5]}
                ).with_columns(
                    ci_low=pl.col("value") - 0.1,
                    ci_high=pl.col("value") + 0.1,
                    n=pl.lit(100, pl.Int64),
                    judge=pl.Series(["judge", None]),
                    seed=pl.lit(1, pl.Int64),
                    axis=pl.Series(["safety", "capability"]),
                    higher_is_better=pl.lit(True),
                )
                tables["metrics"].append(_loop(metrics, chain, ordinal, attempt))
            state = pl.DataFrame(
                {
                    "status": ["rejected" if ordinal == 1 else "accepted"],
                    "batch_id": [f"batch-{chain}-{ordinal}"],
                    "checkpoint_id": [f"checkpoint-{chain}-{ordinal}"],
                    "committed_at": [f"2026-01-0{ordinal + 1}T03:00:00+00:00"],
                    "token_budget": [BUDGET],
                }
            )
            tables["state"].append(_loop(state, chain, ordinal, attempt))
    manifests = pl.DataFrame(
        {
            "id": ["raw", "batch-main-0", "checkpoint-main-0"],
            "table": ["documents", "batches", "checkpoints"],
            "partition": ["forum|2026-01", "main|0", "main|0"],
            "created_at": ["2026-01-01T00:00:00+00:00"] * 3,
            "inputs": [[], ["raw", "raw"], ["batch-main-0"]],
        },
        schema_overrides={"inputs": pl.List(pl.String)},
    )
    quarantine = documents.select("source", "snapshot", "file", "position").head(5)
    quarantine = quarantine.with_columns(reason=pl.lit("not UTF-8"), offset=pl.lit(-1, pl.Int64))
    judged = documents.select("doc_id", "source").unique("doc_id", maintain_order=True).head(2)
    judged = judged.with_columns(role=pl.lit("report"), toxic=pl.lit(0.1, pl.Float32))
    return {
        "documents": documents,
        "quarantine": quarantine,
        "judged": judged,
        "manifests": manifests,
        **{name: pl.concat(frames) for name, frames in tables.items()},
    }


@pytest.fixture
def lake() -> Tables:
    return make_lake()


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[Tables], WarehouseResource]:
    """Write tables to a fresh serving folder as the lake does: plain Parquet, here two files a table."""

    def write(tables: Tables) -> WarehouseResource:
        warehouse = WarehouseResource(folder=str(tmp_path / "it's [a] ware*house"))
        warehouse.prepare()
        for name, frame in tables.items():
            assert name in SOURCE_SCHEMAS
            for part, rows in enumerate((frame[: frame.height // 2], frame[frame.height // 2 :])):
                rows.write_parquet(warehouse.source_folder(name) / f"part-{part}.parquet")
        return warehouse

    return write
