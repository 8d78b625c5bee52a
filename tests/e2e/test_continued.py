"""A finished state goes on: another base is refused, and one source less, a kill and a tracker that fails are met."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, committed, history
from curation_pipeline.steps.registry import annotation_steps
from resources.tracking import TrackingResource
from tests.e2e.conftest import TINY, Project

pytestmark = [pytest.mark.slow, pytest.mark.network]

SPANNING = ("duplicates", "document_index", "corpus_profile")
PREPARED = {"documents", "base_checkpoint", *(step.table for step in annotation_steps())}
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


def processes_of(state: Path) -> list[str]:
    """The processes that work on a state folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"CURATION_STATE={state}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
    return found


def made(lake: Lake, *tables: str) -> set[str]:
    """Ids of everything, or of some tables."""
    return {manifest.id for manifest in lake.manifests() if not tables or manifest.table in tables}


def test_another_base_is_refused_with_the_setting_and_its_values(finished: Project, tmp_path: Path) -> None:
    other = finished.copied(tmp_path, ("hidden_size = 32", "hidden_size = 48"), ("seed = 3", "seed = 4"))
    done = other.curate("run", check=False)
    assert done.returncode == 1
    for said in ("training.scratch.hidden_size: 32 -> 48", "seed: 3 -> 4", "--state"):
        assert said in done.stderr
    assert "hidden_size: 32 -> 48" in (other.state / "logs" / "run.log").read_text()
    before, after = (Lake.open(state / "lake") for state in (finished.state, other.state))
    assert committed(before, MAIN, 0) == committed(after, MAIN, 0)
    assert made(before) == made(after)


def test_a_source_is_taken_out_and_the_run_is_killed_and_taken_up(finished: Project, tmp_path: Path) -> None:
    """One state through it all, since an iteration takes long: each part goes on from what the one before left."""
    text = TINY.read_text()
    less = finished.copied(
        tmp_path,
        (text[text.rindex("[[corpus.sources]]") :], ""),
        ("max_iterations = 2", "max_iterations = 3"),
        ('arms = ["random"]', "arms = []"),
    )
    lake = Lake.open(less.state / "lake")
    prepared = made(lake, *PREPARED)

    # A second run waits for nobody, and a killed one takes its processes along.
    command = [less.program, "run"]
    with subprocess.Popen(command, env=less.environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as first:
        while not list((less.state / "work" / "scratch").glob("*/*")):
            assert first.poll() is None
            time.sleep(0.05)
        second = less.curate("run", check=False)
        assert second.returncode == 1
        assert f"process {first.pid} on" in second.stderr
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
    while processes_of(less.state):
        time.sleep(0.1)

    # It is taken up where it was, although MLflow cannot be written to.
    (less.state / "mlflow.db").rename(tmp_path / "kept.db")
    (less.state / "mlflow.db").mkdir()
    said = less.curate("run").stdout
    assert "MLflow does not have" in said
    assert "Retired: wiki|gender" in said
    states = history(lake, MAIN)
    assert [state.ordinal for state in states] == [0, 1, 2, 3]
    with dg.DagsterInstance.from_config(str(less.state / "dagster")) as instance:
        statuses = {run.status for run in instance.get_runs()}
        assert statuses == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}  # of the killed one
    for folder in ("drafts", "scratch"):
        assert not list((less.state / "work" / folder).glob("*.lock"))

    # What was taken out is in no later batch, and nothing else was made again.
    drawn = {
        state.ordinal: lake.frame(lake.get(state.own["pool"])).join(
            lake.frame(lake.get(state.own["batches"])), on="doc_id", how="semi"
        )
        for state in states[1:]
    }
    assert set(drawn[2]["source"]) == {"reddit", "wiki"}
    assert set(drawn[3]["source"]) == {"reddit"}
    assert made(lake, *PREPARED) == prepared
    assert "retired" in less.ask("status")
    with duckdb.connect(str(less.state / "warehouse" / "serving.duckdb"), read_only=True) as connection:
        assert connection.execute("select distinct source from corpus_composition").fetchall() == [("reddit",)]
    assert less.python(DISCOVER)[-2:] == ["corpus_wide wiki|gender | reddit|race wiki|gender", "| reddit|race"]

    # It comes back: what spans the corpus is current again, and found, not made; and MLflow gets what it missed.
    (less.state / "mlflow.db").rmdir()
    (tmp_path / "kept.db").rename(less.state / "mlflow.db")
    known, before = {table: lake.require(table).id for table in SPANNING}, made(lake)
    whole = replace(less, profile=TINY)
    said = whole.curate("run", "--no-arms").stdout
    assert f"MLflow now has {states[3].own['policies']}, {states[3].own['checkpoints']}" in said
    assert {states[3].own["policies"], states[3].own["checkpoints"]} <= TrackingResource(
        folder=str(less.state)
    ).finished()
    first_lake = Lake.open(finished.state / "lake")
    before_it = {table: first_lake.require(table).id for table in SPANNING}
    assert {table: lake.require(table).id for table in SPANNING} == before_it != known
    assert made(lake) == before


def test_a_second_run_finds_finished_work(finished: Project, tmp_path: Path) -> None:
    again = replace(finished.copied(tmp_path), profile=TINY)

    def runs() -> set[str]:
        with dg.DagsterInstance.from_config(str(again.state / "dagster")) as instance:
            return {run.run_id for run in instance.get_runs()}

    manifests = again.state / "lake" / "manifests"
    before, ran = {path: path.stat().st_mtime_ns for path in manifests.iterdir()}, runs()
    again.curate("run")
    assert runs() == ran
    assert before == {path: path.stat().st_mtime_ns for path in manifests.iterdir()}
