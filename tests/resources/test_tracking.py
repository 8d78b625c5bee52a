"""MLflow for real, on a SQLite file of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from curation_pipeline.lake.manifest import Manifest
from resources.registry import CHAMPION, promote
from resources.tracking import TrackingResource

pytestmark = pytest.mark.slow  # MLflow is imported, and its database made


def partition(name: str, content: str, tokens: int) -> dict[str, Any]:
    return {
        "partition": name,
        "documents_manifest": f"documents-{content}",
        "content_hash": content * 64,
        "rows": 10,
        "tokens_used": tokens,
    }


FORUM, BOOKS = partition("forum|2026-01", "a", 600), partition("books|v1", "b", 400)
NEWER = partition("forum|2026-01", "c", 1)


def models_trained_on(tracking: TrackingResource, name: str, digest: str | None = None) -> list[Any]:
    """Models of MLflow that a raw partition is tied to; a server finds none by a data set's name alone."""
    client = tracking.client()
    return [
        model
        for model in client.search_logged_models([tracking.experiment_id(client)])
        if any(
            metric.dataset_name == name and digest in (None, metric.dataset_digest) for metric in model.metrics or ()
        )
    ]


def the_checkpoint_in_force_is_the_champion(tracking: TrackingResource) -> None:
    """Of manifest-1 and manifest-2, which have been logged; one that is put into force again is no new version."""
    assert promote(tracking, "ours-tiny", "the-base") == ""
    found = [promote(tracking, "ours-tiny", f"manifest-{number}") for number in (1, 2, 2, 1, 2)]
    assert found == ["1", "2", "2", "1", "2"]
    client = tracking.client()
    champion = client.get_model_version_by_alias("ours-tiny", CHAMPION)
    assert (str(champion.version), champion.tags["curation.manifest_id"]) == ("2", "manifest-2")
    assert client.get_run(champion.run_id).data.tags["curation.asset"] == "checkpoint"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of MLflow's own server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *store]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            time.sleep(0.3)
        else:
            pytest.fail((tmp_path / "server.log").read_text()[-3000:])
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def test_a_tracking_server_of_the_environment_is_used_and_shared(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    states = [TrackingResource(folder=str(tmp_path / name)) for name in ("mine", "yours")]
    runs = []
    for tracker in states:
        with tracker.run("checkpoint", "2026-01-01") as run:
            run.log_model("main/1", "manifest-1", step=1, partitions=[FORUM])
            run.log_files({"card.md": b"a card"})
        runs.append(run.run_id)
    assert len(set(runs)) == 2  # each state has a run of its own, and finds it again
    with states[0].run("checkpoint", "2026-01-01") as run:
        assert run.run_id == runs[0]
    assert models_trained_on(states[0], "forum|2026-01")
    shared = [TrackingResource(folder=str(tmp_path / name), bucket="s3://lake/a") for name in ("here", "there")]
    one_run = set()
    for tracker in shared:  # two machines that work on one lake in a bucket
        with tracker.run("checkpoint", "2026-01-02") as run:
            one_run.add(run.run_id)
            run.log_model("main/2", "manifest-2", step=2, partitions=[FORUM])
    assert len(one_run) == 1
    the_checkpoint_in_force_is_the_champion(states[0])
    assert list((tmp_path / "kept").rglob("card.md"))
    assert not list(tmp_path.glob("*/mlflow.db"))
    assert not list(tmp_path.glob("*/mlflow-artifacts"))


def test_from_data_to_models_and_back(tmp_path: Path) -> None:
    tracker = TrackingResource(folder=str(tmp_path))
    tracker.client()
    environment = os.environ.copy()

    def train(ordinal: int, partitions: list[dict[str, Any]]) -> tuple[str, str]:
        with tracker.run("checkpoint", f"2026-01-0{ordinal}", dagster_run_id=f"dagster-{ordinal}") as run:
            run.log_params({"learning_rate": 1e-3 * ordinal, "chain": "main"})
            model = run.log_model(f"main/{ordinal}", f"manifest-{ordinal}", step=ordinal, partitions=partitions)
            run.log_metrics({"P": 0.5 + ordinal / 10, "absent": None, "bad|name": 1.0}, ordinal, model_id=model)
            run.set_tags({"curation.manifest_id": f"manifest-{ordinal}"})
        return run.run_id, model

    first_run, first_model = train(1, [FORUM, BOOKS])
    second_run, second_model = train(2, [FORUM])
    assert os.environ == environment
    _, newer_model = train(3, [NEWER])

    def models(name: str, digest: str | None = None) -> set[str]:
        return {model.model_id for model in models_trained_on(tracker, name, digest)}

    assert models("forum|2026-01", "a" * 16) == {first_model, second_model}
    assert models("forum|2026-01") == {first_model, second_model, newer_model}
    assert models("books|v1") == {first_model}
    client = tracker.client()
    readers = client.search_runs([tracker.experiment_id(client)], "dataset.name = 'books|v1'")
    assert [run.info.run_id for run in readers] == [first_run]
    (model,) = models_trained_on(tracker, "books|v1")
    assert model.tags["curation.manifest_id"] == "manifest-1"
    assert (model.source_run_id, model.name) == (first_run, "main-1")

    the_checkpoint_in_force_is_the_champion(tracker)
    assert os.environ == environment

    # A retry finds the run and the model again, and adds nothing to them.
    assert train(2, [FORUM]) == (second_run, second_model)
    assert models("forum|2026-01", "a" * 16) == {first_model, second_model}
    data = client.get_run(second_run)
    assert data.info.status == "FINISHED"
    assert data.inputs is not None
    assert len(data.inputs.dataset_inputs) == 1
    assert data.data.tags["curation.manifest_id"] == "manifest-2"
    assert data.data.tags["dagster.run_id"] == "dagster-2"
    assert [point.step for point in client.get_metric_history(second_run, "P")][-1] == 2
    assert len(client.search_runs([tracker.experiment_id(client)])) == 3

    # A failure is shown as one, and other parameters in a retry do not break it.
    def fail() -> None:
        with tracker.run("checkpoint", "2026-01-02") as run:
            run.log_params({"learning_rate": 9.0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    failed = client.get_run(second_run)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["param.learning_rate"] == "9.0"
    # Another attempt is another run.
    with tracker.run("checkpoint", "2026-01-02", attempt=1) as run:
        assert run.run_id not in {first_run, second_run}


def test_a_policys_training_is_logged_once_under_the_papers_names(tmp_path: Path) -> None:
    policy = Manifest(
        id="policies-0123",
        table="policies",
        partition={"chain": "main", "iteration": "0001"},
        inputs=("pool-1", "probes-2", "reward_models-3", "policies-0"),
        parameters={"token_budget": 12_000, "policy": {"clip_range": 0.2, "ent_coef": 0.003, "novelty_share": 0.5}},
        seed=1,
        code_version="1",
        files=(),
        packages={},
        created_at="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        summary={"control_verdict": "ties with", "converged": True, "kl_to_parent": 0.01, "price": None},
    )
    rollouts = 120
    columns = ("mean_reward", "entropy", "approx_kl", "clip_fraction", "explained_variance", "value_loss", "price")
    curve = pl.DataFrame(
        {
            "candidates": [2_048 * (1 + i) for i in range(rollouts)],
            "budget_use": [None, *(1.0 + i / 1_000 for i in range(1, rollouts))],
            **{name: [i + 0.5 for i in range(rollouts)] for name in columns},
        }
    )
    control = pl.DataFrame({"arm": ["policy", "difference"], "measure": ["value", "value"], "value": [0.5, -0.01]})
    resource = TrackingResource(folder=str(tmp_path))

    def log() -> str:
        with resource.run("selection_policy", "2026-01-02", dagster_run_id="run") as run:
            files = {"training.png": b"picture", "card.md": b"words"}
            run.log_policy(policy, {"alpha": 0.4, "eta": 0.1}, curve, control, files)
        return run.run_id

    run_id = log()
    assert log() == run_id, "a retry finds its run"
    client = resource.client()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    assert (tags["curation.manifest_id"], tags["curation.input.pool"]) == ("policies-0123", "pool-1")
    assert tags["curation.input.policies"] == "policies-0"
    assert (tags["curation.chain"], tags["curation.control_verdict"]) == ("main", "ties with")
    params = run.data.params
    assert (params["ppo/epsilon"], params["ppo/c2_entropy"]) == ("0.2", "0.003")
    assert (params["objective/alpha"], params["process/novelty_share"]) == ("0.4", "0.5")
    # Two logs of the same training leave one point a rollout, at its candidates.
    history = sorted((point.step, point.value) for point in client.get_metric_history(run_id, "training/value_loss"))
    assert history == [(2_048 * (1 + i), i + 0.5) for i in range(rollouts)]
    assert len(client.get_metric_history(run_id, "training/budget_use")) == rollouts - 1
    assert run.data.metrics["control/difference/value"] == -0.01
    assert run.data.metrics["kl_to_parent"] == 0.01
    assert sorted(file.path for file in client.list_artifacts(run_id, "policy")) == [
        "policy/card.md",
        "policy/training.png",
    ]


def test_the_resource_is_configured_by_a_folder(tmp_path: Path) -> None:
    @dg.asset
    def reads(tracking: TrackingResource) -> str:
        return tracking.uri

    result = dg.materialize([reads], resources={"tracking": TrackingResource(folder=str(tmp_path))})
    assert result.output_for_node("reads") == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
    assert not (tmp_path / "mlflow.db").exists()


def test_an_evaluated_checkpoint_is_logged_from_the_lakes_records(tmp_path: Path) -> None:
    checkpoint = Manifest(
        id="checkpoints-0123",
        table="checkpoints",
        partition={"chain": "main", "iteration": "0001"},
        inputs=(),
        parameters={},
        seed=1,
        code_version="1",
        files=(),
        packages={},
        created_at="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        summary={},
    )
    metrics = pl.DataFrame(
        {
            "benchmark": ["prompts", "prompts", "suite", "suite"],
            "metric": ["safe", "safe", "accuracy", "accuracy"],
            "value": [0.9, 0.8, 0.4, 0.6],
            "judge": ["one", "two", None, None],
        }
    )
    partitions = pl.DataFrame([partition("forum|2026-01", "a", 123)])
    resource = TrackingResource(folder=str(tmp_path))
    with resource.run("checkpoint", "2026-01-02", dagster_run_id="run") as run:
        model = run.log_checkpoint(checkpoint, metrics, 1, partitions)
    (found,) = models_trained_on(resource, "forum|2026-01", "a" * 16)
    assert (found.model_id, found.name) == (model, "main-0001")
    assert found.tags["curation.manifest_id"] == "checkpoints-0123"
    client = resource.client()
    logged = {metric.key: metric.value for metric in client.get_logged_model(model).metrics or []}
    assert logged == pytest.approx(
        {"training_tokens": 123, "prompts/safe/one": 0.9, "prompts/safe/two": 0.8, "suite/accuracy": 0.5}
    )
