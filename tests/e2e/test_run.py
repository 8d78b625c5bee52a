"""The whole graph on a tiny profile, through the command that users run."""

from __future__ import annotations

import json
import re
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from curation_pipeline.config import load_profile
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, history
from curation_pipeline.steps.experiment import final_evaluation
from tests.e2e.conftest import TINY, Project

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.fixture
def finished_lake(finished: Project) -> Lake:
    return Lake.open(finished.state / "lake")


def test_every_iteration_is_committed_and_spends_the_budget(finished_lake: Lake) -> None:
    profile = load_profile(str(TINY))
    chains = {chain: history(finished_lake, chain) for chain in (MAIN, "random/tiny-0")}
    for chain, states in chains.items():
        assert [state.ordinal for state in states] == [0, 1, 2], chain
        for state in states[1:]:
            batch = finished_lake.get(state.own["batches"])
            pool = finished_lake.frame(finished_lake.get(state.own["pool"]))
            assert 0 <= profile.loop.token_budget - batch.summary["tokens"] <= pool["n_tokens"].max()
            drawn = finished_lake.frame(batch)
            assert drawn["doc_id"].is_in(pool["doc_id"].implode()).all()
            decisions = finished_lake.frame(batch, "decisions")
            assert decisions.height == pool.height
            assert decisions.filter("drawn").height == drawn.height
    assert chains[MAIN][0].checkpoint_id == chains["random/tiny-0"][0].checkpoint_id


def test_the_pool_holds_no_judge_no_duplicate_and_no_held_out_text(finished_lake: Lake) -> None:
    held_out = finished_lake.frame(finished_lake.require("heldout_texts"))
    for manifest in finished_lake.heads("pool"):
        pool = finished_lake.frame(manifest)
        assert not {"toxic", "insult", "threat"} & set(pool.columns)
        assert pool["doc_id"].is_unique().all()
        assert not pool["doc_id"].is_in(held_out["doc_id"].implode()).any()


def test_files_are_what_their_manifests_say(finished_lake: Lake) -> None:
    manifests = list(finished_lake.manifests())
    assert len(manifests) > 40
    for manifest in manifests:
        finished_lake.verify(manifest)


def test_lineage_of_the_last_checkpoint_reaches_every_raw_partition(finished: Project, finished_lake: Lake) -> None:
    said = finished.ask("lineage", "last")
    for manifest in finished_lake.heads("documents"):
        assert manifest.partition_text in said
        assert manifest.content_hash[:8] in said
    assert "cold start" in said
    assert "base_checkpoint-" in said


def test_lineage_of_a_document_names_its_batches_and_checkpoints(finished: Project, finished_lake: Lake) -> None:
    state = next(
        state for state in reversed(history(finished_lake, MAIN)) if state.ordinal and state.status == "accepted"
    )
    batch = finished_lake.get(state.own["batches"])
    doc_id = finished_lake.frame(batch)["doc_id"][0]
    said = finished.ask("lineage", doc_id)
    assert batch.id in said
    assert state.own["checkpoints"] in said


def test_unknown_names_are_one_clear_message(finished: Project) -> None:
    done = finished.curate("lineage", "main/99", check=False)
    assert done.returncode == 1
    assert "curate status" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_is_one_self_contained_page(finished: Project) -> None:
    page = (finished.state / "report.html").read_text()
    assert "random" in page
    external = re.findall(r"""(?:src|href)\s*=\s*["'](https?:[^"']+)""", page)
    assert external == []


def test_the_serving_database_answers(finished: Project, finished_lake: Lake) -> None:
    with duckdb.connect(str(finished.state / "warehouse" / "serving.duckdb"), read_only=True) as connection:
        composition = connection.execute("select sum(documents) from corpus_composition").fetchone()
        assert composition is not None
        assert composition[0] == sum(m.n_rows for m in finished_lake.heads("documents"))
        chains = connection.execute("select distinct chain from metrics_over_iterations").fetchall()
        assert {chain for (chain,) in chains} >= {MAIN, "random/tiny-0"}


def test_dagster_saw_every_asset_with_metadata(finished: Project) -> None:
    instance = dg.DagsterInstance.from_config(str(finished.state / "dagster"))
    with instance:
        for asset in ("documents", "curated_batch", "checkpoint", "evaluation", "committed_state"):
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None, asset
            assert event.asset_materialization is not None
            assert "manifest" in event.asset_materialization.metadata
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert failed == []


LOOK = """
import json
import dagster as dg
from assets.automation import reconcile_commits
from assets.definitions import defs
from resources.project import ProjectResource
said = {"assets": {s.key.to_user_string(): [s.group_name, s.code_version] for s in defs.resolve_all_asset_specs()}}
with dg.DagsterInstance.ephemeral() as fresh, dg.DagsterInstance.get() as known:
    for name, instance in (("lost", fresh), ("known", known)):
        context = dg.build_sensor_context(instance=instance, resources={"project": ProjectResource()})
        events = getattr(reconcile_commits(context), "asset_events", None) or []
        said[name] = [event.partition for event in events]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def definitions(finished: Project) -> dict[str, Any]:
    """What the definitions say: group and code version of each asset, and commits whose event is reported."""
    return dict(json.loads(finished.python(LOOK)[-1]))


def test_every_asset_has_the_code_version_that_its_stage_declares(
    finished: Project, finished_lake: Lake, definitions: dict[str, Any]
) -> None:
    declared = definitions["assets"]
    without_recipe = {name for name, (group, _) in declared.items() if group == "serving"}
    assert all(declared[name][1] for name in without_recipe)
    never_run = {"committed_state", "final_evaluation"}  # without computation; made by hand
    assert declared["final_evaluation"][1] == final_evaluation.VERSION
    with dg.DagsterInstance.from_config(str(finished.state / "dagster")) as instance:
        for name in declared.keys() - without_recipe - never_run:
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None, name
            assert event.asset_materialization is not None
            made = finished_lake.get(str(event.asset_materialization.metadata["manifest"].value))
            assert declared[name][1] == made.code_version, name


def test_commits_whose_event_was_lost_are_reported_once(definitions: dict[str, Any]) -> None:
    assert len(definitions["lost"]) == 2
    assert definitions["lost"] == sorted(definitions["lost"]), "in the order of the windows"
    assert definitions["known"] == []


def test_mlflow_goes_from_raw_data_to_models_and_back(finished: Project, finished_lake: Lake) -> None:
    from resources.registry import CHAMPION
    from resources.tracking import TrackingResource

    tracking = TrackingResource(folder=str(finished.state))
    client = tracking.client()
    found = [tracking.experiment_id(client)]
    trained = {state.own["checkpoints"] for state in history(finished_lake, MAIN)[1:]}
    models = [
        model.tags["curation.manifest_id"]
        for model in client.search_logged_models(found)
        if any(metric.dataset_name == "reddit|race" for metric in model.metrics or ())
    ]
    assert set(models) == trained
    assert client.search_runs(found, "dataset.name = 'reddit|race'")
    champion = client.get_model_version_by_alias(f"{tracking.experiment}-tiny", CHAMPION)
    assert champion.tags["curation.manifest_id"] == history(finished_lake, MAIN)[-1].checkpoint_id


def test_metrics_have_intervals_around_their_values(finished_lake: Lake) -> None:
    metrics = pl.concat([finished_lake.frame(manifest) for manifest in finished_lake.heads("metrics")])
    inside = metrics.drop_nulls("ci_low").filter(
        (pl.col("ci_low") <= pl.col("value") + 1e-9) & (pl.col("value") - 1e-9 <= pl.col("ci_high"))
    )
    assert inside.height >= 0.95 * metrics.drop_nulls("ci_low").height
