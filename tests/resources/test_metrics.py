"""The metrics that Prometheus reads: what a lake and a Dagster instance hold, counted once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dagster as dg
import polars as pl
import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from curation_pipeline.installation import PROJECT_ROOT
from curation_pipeline.lake.draft import Draft
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Recipe
from resources.metrics import COUNTERS, LAST_SUCCESS, NO_STEP, StepMetrics
from resources.web_guard import WebGuard

TOKEN = "t" * 32
Figures = dict[tuple[str, str], float]


def make(lake: Lake, table: str, partition: dict[str, str], rows: int) -> None:
    def write(draft: Draft) -> None:
        pl.DataFrame({"doc_id": range(rows)}).write_parquet(draft.folder / "data.parquet")

    lake.build(Recipe(table, partition), write)


def scrape(client: TestClient) -> Figures:
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, sample.labels["step"]): sample.value for family in families for sample in family.samples}


@dg.op
def candidate_pool() -> None:
    raise ValueError("no pool")


@dg.job
def failing() -> None:
    candidate_pool()


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    (tmp_path / "dagster").mkdir()
    return dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))


@pytest.fixture
def client(lake: Lake, instance: dg.DagsterInstance) -> TestClient:
    app = Starlette(routes=[Route("/metrics", StepMetrics(instance, lake).answer)])
    return TestClient(WebGuard(app, "127.0.0.1", 3000, TOKEN), base_url="http://127.0.0.1:3000")


def test_a_scrape_counts_what_is_new_and_a_restarted_server_counts_the_same(
    client: TestClient, lake: Lake, instance: dg.DagsterInstance
) -> None:
    assert scrape(client) == {}
    make(lake, "documents", {"source": "a", "snapshot": "1"}, 5)
    make(lake, "documents", {"source": "a", "snapshot": "2"}, 7)
    make(lake, "pool", {"chain": "main", "iteration": "0001"}, 3)
    make(lake, "labels", {}, 9)  # rows that are no documents of the corpus
    failing.execute_in_process(instance=instance, raise_on_error=False)
    first = scrape(client)
    assert first["curation_step_artefacts_total", "documents"] == 2
    assert first["curation_step_documents_total", "documents"] == 12
    assert first["curation_step_documents_total", "candidate_pool"] == 3
    assert ("curation_step_documents_total", "labels") not in first
    assert first["curation_step_bytes_total", "documents"] == sum(m.n_bytes for m in lake.heads("documents"))
    assert first["curation_step_failures_total", "candidate_pool"] == 1
    assert first[LAST_SUCCESS, "labels"] > 1.7e9
    failing.execute_in_process(instance=instance, raise_on_error=False)
    lost = instance.create_run_for_job(failing)
    instance.report_run_failed(lost)
    again = scrape(client)
    assert again == first | {
        ("curation_step_failures_total", "candidate_pool"): 2,
        ("curation_step_failures_total", NO_STEP): 1,
    }
    restarted = Starlette(routes=[Route("/metrics", StepMetrics(instance, lake).answer)])
    assert scrape(TestClient(restarted)) == again


def test_the_metrics_need_the_token(client: TestClient) -> None:
    assert client.get("/metrics").status_code == 401


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    served = {f"{name}_total" for name in COUNTERS} | {LAST_SUCCESS}
    dashboard = json.loads((PROJECT_ROOT / "deploy" / "grafana" / "curation.json").read_text())
    asked = set[str]()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            promql_parser.parse(target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1d"))
            asked |= set(re.findall(r"\bcuration_\w+", target["expr"]))
    assert asked == served
