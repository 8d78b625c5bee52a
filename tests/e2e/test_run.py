"""The whole graph on a tiny profile, through the command that users run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from curation_pipeline.config import load_profile
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, history
from curation_pipeline.steps.experiment import final_evaluation
from curation_pipeline.steps.registry import annotation_steps
from tests.e2e.conftest import TINY, Project

pytestmark = [pytest.mark.network]


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
    said = finished.curate("lineage", "last").stdout
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
    said = finished.curate("lineage", doc_id).stdout
    assert batch.id in said
    assert state.own["checkpoints"] in said


def test_unknown_names_are_one_clear_message(finished: Project) -> None:
    done = finished.curate("lineage", "main/99", check=False)
    assert done.returncode == 1
    assert "curate status" in done.stderr
    assert "Traceback" not in done.stderr


def dagster_runs(project: Project) -> set[str]:
    with dg.DagsterInstance.from_config(str(project.state / "dagster")) as instance:
        return {run.run_id for run in instance.get_runs()}


def test_a_second_run_finds_finished_work(finished: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished.state / "lake" / "manifests").iterdir()}
    runs = dagster_runs(finished)
    finished.curate("run")
    assert dagster_runs(finished) == runs
    assert before == {path: path.stat().st_mtime_ns for path in (finished.state / "lake" / "manifests").iterdir()}


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


SPECS = """
import json
from assets.definitions import defs
print(json.dumps({s.key.to_user_string(): [s.group_name, s.code_version] for s in defs.resolve_all_asset_specs()}))
"""


def test_every_asset_has_the_code_version_that_its_stage_declares(finished: Project, finished_lake: Lake) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPECS],
        env=finished.environment, cwd=finished.state.parent, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    declared = json.loads(done.stdout.splitlines()[-1])
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


def test_mlflow_goes_from_raw_data_to_models_and_back(finished: Project, finished_lake: Lake) -> None:
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


def test_metrics_have_intervals_around_their_values(finished_lake: Lake) -> None:
    metrics = pl.concat([finished_lake.frame(manifest) for manifest in finished_lake.heads("metrics")])
    inside = metrics.drop_nulls("ci_low").filter(
        (pl.col("ci_low") <= pl.col("value") + 1e-9) & (pl.col("value") - 1e-9 <= pl.col("ci_high"))
    )
    assert inside.height >= 0.95 * metrics.drop_nulls("ci_low").height


SPANNING = ("duplicates", "document_index", "corpus_profile")
DISCOVER = """
import dagster as dg
from assets.automation import discover_corpus
from assets.partitions import corpus_partitions
from resources.project import ProjectResource
with dg.DagsterInstance.ephemeral() as fresh, dg.DagsterInstance.get() as known:
    fresh.add_dynamic_partitions(corpus_partitions.name, ["reddit|race", "wiki|gender"])
    for instance in (fresh, known):
        context = dg.build_sensor_context(instance=instance, resources={"project": ProjectResource()})
        found = discover_corpus(context)
        gone = [key for change in found.dynamic_partitions_requests[1:] for key in change.partition_keys]
        jobs = [request.job_name for request in found.run_requests]
        print(*jobs, *gone, "|", *instance.get_dynamic_partitions("corpus"))
"""


def test_a_source_that_is_taken_out_is_in_no_later_batch(finished: Project, tmp_path: Path) -> None:
    """The whole graph goes on from two iterations with one source less."""
    text = TINY.read_text().replace("max_iterations = 2", "max_iterations = 3")
    profile = tmp_path / "tiny.toml"
    profile.write_text(text[: text.rindex("[[corpus.sources]]")])
    project = Project(tmp_path / "state", profile)
    shutil.copytree(finished.state, project.state)
    lake = Lake.open(project.state / "lake")
    prepared = {"documents", "base_checkpoint", *(step.table for step in annotation_steps())}
    before = {m.id for m in lake.manifests() if m.table in prepared}
    said = project.curate("run", "--no-arms").stdout
    assert "Retired: wiki|gender" in said
    states = history(lake, MAIN)
    drawn = {
        state.ordinal: lake.frame(lake.get(state.own["pool"])).join(
            lake.frame(lake.get(state.own["batches"])), on="doc_id", how="semi"
        )
        for state in states[1:]
    }
    assert set(drawn[2]["source"]) == {"reddit", "wiki"}
    assert set(drawn[3]["source"]) == {"reddit"}
    assert {m.id for m in lake.manifests() if m.table in prepared} == before
    assert "retired" in project.curate("status").stdout
    with duckdb.connect(str(project.state / "warehouse" / "serving.duckdb"), read_only=True) as connection:
        assert connection.execute("select distinct source from corpus_composition").fetchall() == [("reddit",)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DISCOVER],
        env=project.environment, cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-2:] == [
        "corpus_wide wiki|gender | reddit|race wiki|gender",
        "| reddit|race",
    ]

    # It comes back: what spans the corpus is current again, and found, not made.
    known, made = {table: lake.require(table).id for table in SPANNING}, {m.id for m in lake.manifests()}
    Project(project.state, TINY).curate("run", "--no-arms")
    first = Lake.open(finished.state / "lake")
    before_it = {table: first.require(table).id for table in SPANNING}
    assert {table: lake.require(table).id for table in SPANNING} == before_it != known
    assert {m.id for m in lake.manifests()} == made


RECONCILE = """
import dagster as dg
from assets.automation import reconcile_commits
from resources.project import ProjectResource
with dg.DagsterInstance.ephemeral() as fresh, dg.DagsterInstance.get() as known:
    for instance in (fresh, known):
        context = dg.build_sensor_context(instance=instance, resources={"project": ProjectResource()})
        found = reconcile_commits(context)
        events = getattr(found, "asset_events", None) or []
        print(len(events), *[event.partition for event in events])
"""


def test_commits_whose_event_was_lost_are_reported_once(finished: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RECONCILE],
        env=finished.environment, cwd=finished.state.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lost, none = done.stdout.strip().splitlines()[-2:]
    assert lost.split()[0] == "2"
    assert lost.split()[1] < lost.split()[2]  # in the order of the windows
    assert none == "0"
