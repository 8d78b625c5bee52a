"""The loop through the real web server and daemon, over the HTTP API that the UI itself uses."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, committed, history
from tests.e2e.conftest import TINY, Project, serving, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(7200)]
BUDGET = 5
LOOP = [
    "iteration_gate", "candidate_pool", "probes", "selection_policy", "curated_batch", "checkpoint", "evaluation",
    "reward_model", "iteration_commit",
]  # fmt: skip
SELECTOR = {"repositoryLocationName": "curation", "repositoryName": "__repository__", "pipelineName": "iteration"}


@dataclass(frozen=True)
class Server:
    """A running web server and daemon on a state folder."""

    project: Project
    url: str

    @property
    def lake(self) -> Lake:
        return Lake.open(self.project.state / "lake")

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return dict(said["data"])

    def window(self, ordinal: int) -> str:
        said = self.ask(
            'query { assetNodeOrError(assetKey: {path: ["iteration_gate"]}) { ... on AssetNode '
            "{ partitionKeysByDimension { partitionKeys } } } }"
        )
        return str(said["assetNodeOrError"]["partitionKeysByDimension"][0]["partitionKeys"][ordinal - 1])

    def launch(self, ordinal: int, config: dict[str, Any] | None = None) -> str:
        """Launch one iteration as the button does."""
        window = self.window(ordinal)
        said = self.ask(
            "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename "
            "... on LaunchRunSuccess { run { runId } } ... on PythonError { message } "
            "... on RunConfigValidationInvalid { errors { message } } } }",
            p={
                "selector": SELECTOR, "mode": "default", "runConfigData": config or {},
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": window}]},
            },
        )["launchPipelineExecution"]  # fmt: skip
        assert said["__typename"] == "LaunchRunSuccess", said
        return str(said["run"]["runId"])

    def status(self, run_id: str) -> str:
        query = "query($r: ID!) { runOrError(runId: $r) { ... on Run { status } } }"
        return str(self.ask(query, r=run_id)["runOrError"]["status"])

    def finish(self, run_id: str, expected: str = "SUCCESS", seconds: float = 1800) -> None:
        ends = ("SUCCESS", "FAILURE", "CANCELED")
        wait_for(f"run {run_id}", lambda: self.status(run_id) in ends, seconds)
        assert self.status(run_id) == expected

    def worker(self, run_id: str) -> int:
        """The process that executes a run, as the run's own log names it."""
        with dg.DagsterInstance.from_config(str(self.project.state / "dagster")) as instance:
            for entry in instance.all_logs(run_id):
                if found := re.search(r"pid: (\d+)", f"{entry.message} {entry.user_message}"):
                    return int(found[1])
        pytest.fail(f"the log of run {run_id} names no process")

    def commits(self) -> list[int]:
        return [state.ordinal for state in history(self.lake, MAIN)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, package_cache: Path) -> Iterator[Server]:
    """A fresh state with corpus and cold start, served by `curate ui`."""
    folder = tmp_path_factory.mktemp("server")
    profile = folder / "tiny.toml"
    text = TINY.read_text().replace("max_iterations = 2", f"max_iterations = {BUDGET}")
    # A fit of many short steps that saves each of them: a machine of any speed can be caught in the middle of it.
    profile.write_text(text.replace("[training]\n", "[training]\nsave_every_seconds = 0\npasses = 12\n"))
    project = Project(folder / "state", profile)
    project.curate("run", "--only-prepare")
    with serving(project) as url:
        running = Server(project, url)
        wait_for("the code location", lambda: running.window(1) != "", 1800)
        yield running


def test_a_backfill_over_http_runs_three_iterations_in_order(server: Server) -> None:
    said = server.ask(
        "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename "
        "... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
        p={
            "assetSelection": [{"path": [name]} for name in LOOP],
            "partitionNames": [server.window(ordinal) for ordinal in (1, 2, 3)],
            "tags": [],
        },
    )["launchPartitionBackfill"]
    assert said["__typename"] == "LaunchBackfillSuccess", said
    query = "query($b: String!) { partitionBackfillOrError(backfillId: $b) { ... on PartitionBackfill { status } } }"

    def ended() -> bool:
        status = server.ask(query, b=said["backfillId"])["partitionBackfillOrError"]["status"]
        assert "FAIL" not in status, status
        return status in ("COMPLETED", "COMPLETED_SUCCESS")

    wait_for("the backfill", ended, 3600)
    states = history(server.lake, MAIN)
    assert [state.ordinal for state in states] == [0, 1, 2, 3]
    made = [server.lake.head("state", {"chain": MAIN, "iteration": state.key}) for state in states]
    times = [manifest.created_at for manifest in made if manifest is not None]
    assert times == sorted(times)
    for before, after in zip(made, states[1:], strict=False):
        assert before is not None
        assert after.parent_state_id == before.id


def test_the_sensor_alone_chains_and_stops_at_the_budget(server: Server) -> None:
    server.finish(server.launch(4))
    wait_for("the sensor's iteration", lambda: BUDGET in server.commits(), 1800)
    time.sleep(45)  # three ticks of the sensor: it must not go on
    assert server.commits() == [0, 1, 2, 3, 4, BUDGET]


def test_the_gate_refuses_an_iteration_without_a_parent(server: Server) -> None:
    run = server.launch(9)
    server.finish(run, "FAILURE")
    assert server.commits()[-1] == BUDGET


def test_a_killed_worker_is_re_executed_with_the_same_batch(server: Server) -> None:
    run = server.launch(BUDGET + 1)
    place = {"chain": MAIN, "iteration": f"{BUDGET + 1:04d}"}
    wait_for("the pool", lambda: server.lake.head("pool", place), 1800)
    worker = server.worker(run)  # reading the log takes time that there is not once the fit has begun
    wait_for("the batch", lambda: server.lake.head("batches", place), 1800, every=0.01)
    fits = server.project.state / "work" / "scratch"

    def saved() -> bool:
        assert server.lake.head("checkpoints", place) is None, "the fit ended before it could be killed"
        return any(fits.glob("checkpoints-*/fit/*"))

    wait_for("the fit's first saved state", saved, 1800, every=0.01)
    os.kill(worker, signal.SIGKILL)
    # What a fit keeps to resume is removed when its checkpoint is committed: here it is still there.
    assert list(fits.glob("checkpoints-*/fit/*")), "the fit had ended before it was killed"
    assert server.lake.head("checkpoints", place) is None
    before = server.lake.head_record("batches", place)
    server.finish(run, "FAILURE", 1800)  # the daemon notices
    said = server.ask(
        "mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) { __typename "
        "... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
        p={"parentRunId": run, "strategy": "FROM_FAILURE"},
    )["launchRunReexecution"]
    assert said["__typename"] == "LaunchRunSuccess", said
    server.finish(said["run"]["runId"])
    assert server.lake.head_record("batches", place) == before
    found = committed(server.lake, MAIN, BUDGET + 1)
    assert found is not None
    assert found[1].own["batches"] == before.current  # type: ignore[union-attr]


def test_a_forced_rejection_does_not_stop_the_chain(server: Server) -> None:
    config = {"ops": {"iteration_commit": {"config": {"max_performance_drop": -1.0}}}}
    server.finish(server.launch(BUDGET + 2, config))
    rejected = committed(server.lake, MAIN, BUDGET + 2)
    before = committed(server.lake, MAIN, BUDGET + 1)
    assert rejected is not None
    assert before is not None
    assert rejected[1].status == "rejected"
    assert rejected[1].checkpoint_id == before[1].checkpoint_id
    assert rejected[1].own["checkpoints"] != rejected[1].checkpoint_id
    server.finish(server.launch(BUDGET + 3))
    after = committed(server.lake, MAIN, BUDGET + 3)
    assert after is not None
    assert after[1].parent_state_id == rejected[0].id
