"""`dbt build` as it is run in production, against figures computed by another route."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import yaml  # type: ignore[import-untyped]

from resources.warehouse import SOURCES_FILE, WarehouseResource

PROJECT = Path(__file__).parents[2] / "dbt"
Tables = dict[str, pl.DataFrame]
Serve = Callable[[Tables], WarehouseResource]


def dbt(warehouse: WarehouseResource, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("dbt", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert program is not None
    return subprocess.run(
        [program, "--no-use-colors", *arguments, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)],
        env=os.environ | warehouse.dbt_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def table(connection: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    frame: pl.DataFrame = connection.sql(query).pl()
    return frame


def test_every_source_column_is_documented() -> None:
    sources = yaml.safe_load(SOURCES_FILE.read_text())["sources"][0]["tables"]
    assert all(column["description"] for entry in sources for column in entry["columns"])


@pytest.mark.slow
def test_marts_agree_with_polars(lake: Tables, serve: Serve) -> None:
    # text_statistics, topics, labels, probes and generations have not been written: they read as empty.
    # What is retired is there for lineage and counts nowhere, also where the corpus holds the same text.
    lake["retired_documents"] = lake["documents"].slice(385, 15).with_columns(source=pl.lit("a former source"))
    warehouse = serve(lake)
    result = dbt(warehouse, "build")
    assert result.returncode == 0, result.stdout
    assert "WARN=0" in result.stdout
    connection = duckdb.connect(str(warehouse.publish()), read_only=True)

    corpus = table(connection, "select * from corpus_composition").drop("snapshot")
    assert corpus["documents"].sum() == 407
    assert corpus["duplicates"].sum() == 7
    assert corpus["bytes"].sum() == lake["documents"]["n_bytes"].sum()
    assert corpus.filter(domain="(quarantined)")["quarantined"].sum() == 5

    # The attempt that counts: main's last iteration is its second attempt.
    last = (pl.col("chain") != "main") | (pl.col("ordinal") < 2) | (pl.col("attempt") == 1)
    batches = lake["batches"].filter(last).with_columns(pl.col("n_tokens").cast(pl.Float64))
    pool = lake["pool"].filter(ordinal=0).drop("chain", "iteration", "ordinal", "attempt", "n_tokens")
    expected = (
        batches.join(pool, on="doc_id").group_by("chain", "ordinal", value="stratum").agg(pl.col("n_tokens").sum())
    )
    expected = expected.with_columns(share=pl.col("n_tokens") / pl.col("n_tokens").sum().over("chain", "ordinal"))
    got = table(connection, "select * from selection_by_stratum where dimension = 'stratum' and batch_tokens > 0")
    both = got.join(expected, on=["chain", "ordinal", "value"], how="full")
    assert both.height == expected.height == got.height
    np.testing.assert_allclose(both["batch_token_share"], both["share"], rtol=1e-12)

    parity = lake["batch_parity"].filter(last).drop("attempt").rename({"rate": "selection_rate"})
    got = table(connection, "from selection_parity").select(parity.columns)
    keys = ["chain", "ordinal", "identity_group"]
    assert got.sort(keys).equals(parity.sort(keys))
    assert set(got["identity_group"]) == {"gender", "religion"}

    metrics = table(
        connection, "from metrics_over_iterations where chain = 'main' and metric = 'safe' order by ordinal"
    )
    assert metrics["value"].to_list() == pytest.approx([0.4, 0.5, 0.8])
    assert metrics["change_from_previous"].to_list()[1:] == pytest.approx([0.1, 0.3])
    assert metrics["change_from_baseline"].to_list() == pytest.approx([-0.01, 0.09, 0.39])
    assert metrics["status"].to_list() == ["accepted", "rejected", "accepted"]

    edges = table(connection, "select manifest_id, input_id, input_table_name from lineage_edges").sort("manifest_id")
    assert edges.rows() == [("batch-main-0", "raw", "documents"), ("checkpoint-main-0", "batch-main-0", "batches")]

    history = table(connection, f"from document_history where doc_id = '{9:032x}' and chain = 'main'")
    assert sorted(history["checkpoint_id"]) == [f"checkpoint-main-{i}" for i in range(3)]
    assert sorted(history["attempt"]) == [0, 0, 1]

    removal = table(connection, "from removal_by_source where ordinal = 1 order by source, cause")
    assert removal["cause"].to_list() == ["any cause", "contaminated"] * 2
    gone = lake["removed"].filter(ordinal=1).join(lake["documents"].unique("doc_id"), on="doc_id")
    counts = gone["source"].value_counts(sort=True)
    assert dict(zip(removal["source"], removal["removed"], strict=True)) == dict(counts.iter_rows())

    # Raw tables are there for people, with the columns that no schema lists.
    assert "alt_profanity" in table(connection, "from raw.pool limit 1").columns
    assert table(connection, "from raw.labels").height == 0
    assert warehouse.dbt_environment()["DBT_TARGET_PATH"].startswith(str(warehouse.path.resolve()))
    manifest = json.loads((warehouse.path / "dbt/target/manifest.json").read_text())
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    for model in models:
        columns = {row[0] for row in connection.execute(f"describe {model['schema']}.{model['name']}").fetchall()}
        assert columns == {name for name, column in model["columns"].items() if column["description"]}, model["name"]
        assert model["description"]


@pytest.mark.slow
def test_an_empty_lake_builds(serve: Serve) -> None:
    warehouse = serve({})
    result = dbt(warehouse, "build")
    assert result.returncode == 0, result.stdout
    assert warehouse.publish().exists()


@pytest.mark.slow
def test_each_singular_test_sees_its_fault(lake: Tables, serve: Serve) -> None:
    first = (pl.col("chain") == "random") & (pl.col("ordinal") == 0)
    lake["batches"] = lake["batches"].with_columns(
        weight=pl.when(first).then(-1.0).otherwise("weight").cast(pl.Float32),
        n_tokens=pl.when(pl.col("chain") == "threshold").then(pl.col("n_tokens") * 3).otherwise("n_tokens"),
    )
    drawn = lake["batches"].filter(chain="main", ordinal=0)["doc_id"][0]
    lake["documents"] = lake["documents"].filter(pl.col("doc_id") != drawn)
    lake["batches"] = lake["batches"].filter(~((pl.col("doc_id") == drawn) & (pl.col("ordinal") == 0)))
    lake["metrics"] = lake["metrics"].with_columns(ci_high=pl.when(first).then("ci_low").otherwise("ci_high"))
    lake["pool"] = pl.concat([lake["pool"], lake["pool"].head(1)])
    lake["removed"] = lake["removed"].with_columns(doc_id=lake["pool"]["doc_id"].head(lake["removed"].height))
    result = dbt(serve(lake), "build")
    assert result.returncode == 1
    failed = {line.split("test ")[1].split()[0] for line in result.stdout.splitlines() if "Failure in test" in line}
    assert failed >= {
        "drawn_documents_exist",
        "batches_hold_what_was_drawn",
        "batch_weights_positive",
        "metrics_within_intervals",
        "token_budget_respected",
        "pool_without_duplicates",
        "removed_documents_are_not_in_the_pool",
    }, result.stdout
