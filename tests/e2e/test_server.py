"""The loop through the real web server and daemon, over the HTTP API that the UI itself uses.

The `curate` that serves is that of an installed wheel, outside of the checkout, with relative paths: what is asked here
is asked of the package as others have it.
"""

from __future__ import annotations

import os
import signal

import pytest

from curation_pipeline.stages.state import MAIN, committed, history
from tests.e2e.conftest import BUDGET, DONE, HERE, Elsewhere, Server, wait_for
from tests.wheel import Installed

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(7200)]
LAST = 6
"""The last iteration of all: one is the sensor's, one is killed and then rejected, two are a backfill's."""
LOOP = [
    "iteration_gate", "candidate_pool", "probes", "selection_policy", "curated_batch", "checkpoint", "evaluation",
    "reward_model", "iteration_commit",
]  # fmt: skip


def test_a_run_of_the_wheel_builds_what_is_served(elsewhere: Elsewhere, installed: Installed) -> None:
    before = installed.files
    said = elsewhere.curate("run", "--iterations", str(DONE), "--no-arms", *HERE).stdout
    assert "report.html" in said
    assert (elsewhere.state / "report.html").is_file()
    assert (elsewhere.state / "warehouse" / "serving.duckdb").is_file()  # dbt found its models
    assert "accepted" in elsewhere.curate("status", *HERE).stdout
    assert installed.files == before, "an installation is not ours to write to"


def test_the_sensor_alone_chains_and_stops_at_the_budget(server: Server) -> None:
    wait_for("the sensor's iteration", lambda: BUDGET in server.commits(), 1800)
    wait_for("the sensor to refuse", lambda: f"max_iterations ({BUDGET}) is reached" in server.skipped(), 1800)
    assert server.commits() == [0, 1, 2, BUDGET]


def test_a_killed_worker_is_re_executed_with_the_same_batch_and_its_rejection_keeps_the_model(server: Server) -> None:
    config = {"ops": {"iteration_commit": {"config": {"max_performance_drop": -1.0}}}}
    run = server.launch(BUDGET + 1, config)
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
    rejected, parent = (committed(server.lake, MAIN, ordinal) for ordinal in (BUDGET + 1, BUDGET))
    assert rejected is not None
    assert parent is not None
    assert rejected[1].own["batches"] == before.current  # type: ignore[union-attr]
    assert rejected[1].status == "rejected"
    assert rejected[1].checkpoint_id == parent[1].checkpoint_id
    assert rejected[1].own["checkpoints"] != rejected[1].checkpoint_id


def test_a_backfill_over_http_runs_iterations_in_order(server: Server) -> None:
    said = server.ask(
        "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename "
        "... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
        p={
            "assetSelection": [{"path": [name]} for name in LOOP],
            "partitionNames": [server.window(ordinal) for ordinal in (LAST - 1, LAST)],
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
    assert [state.ordinal for state in states] == [0, 1, 2, 3, 4, 5, 6]
    made = [server.lake.head("state", {"chain": MAIN, "iteration": state.key}) for state in states]
    times = [manifest.created_at for manifest in made if manifest is not None]
    assert times == sorted(times)
    for before, after in zip(made, states[1:], strict=False):  # the first of the backfill goes on from a rejection
        assert before is not None
        assert after.parent_state_id == before.id


def test_the_gate_refuses_an_iteration_without_a_parent(server: Server) -> None:
    run = server.launch(LAST + 3)
    server.finish(run, "FAILURE")
    assert server.commits()[-1] == LAST
