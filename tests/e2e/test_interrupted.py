"""A finished state meets a second run, a kill, a tracker that fails and a profile with another base."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, committed, history
from resources.tracking import TrackingResource
from tests.e2e.conftest import TINY, Project

pytestmark = [pytest.mark.slow, pytest.mark.network]


def with_profile(finished: Project, folder: Path, *changes: tuple[str, str]) -> Project:
    """A copy of the finished state, and a profile that differs."""
    text = TINY.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "other.toml").write_text(text)
    shutil.copytree(finished.state, folder / "state")
    return Project(folder / "state", folder / "other.toml")


def processes_of(state: Path) -> list[str]:
    """The processes that work on a state folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"CURATION_STATE={state}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
    return found


def test_another_base_is_refused_with_the_setting_and_its_values(finished: Project, tmp_path: Path) -> None:
    other = with_profile(finished, tmp_path, ("hidden_size = 32", "hidden_size = 48"), ("seed = 3", "seed = 4"))
    done = other.curate("run", check=False)
    assert done.returncode == 1
    for said in ("training.scratch.hidden_size: 32 -> 48", "seed: 3 -> 4", "--state"):
        assert said in done.stderr
    assert "hidden_size: 32 -> 48" in (other.state / "logs" / "run.log").read_text()
    before, after = (Lake.open(state / "lake") for state in (finished.state, other.state))
    assert committed(before, MAIN, 0) == committed(after, MAIN, 0)
    assert {m.id for m in before.manifests()} == {m.id for m in after.manifests()}


def test_a_second_run_waits_for_nobody_and_a_killed_one_is_taken_up(finished: Project, tmp_path: Path) -> None:
    more = with_profile(
        finished, tmp_path, ("max_iterations = 2", "max_iterations = 3"), ('arms = ["random"]', "arms = []")
    )
    command = [Path(sys.executable).with_name("curate"), "run"]
    with subprocess.Popen(command, env=more.environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as first:
        while not list((more.state / "work" / "scratch").glob("*/*")):
            assert first.poll() is None
            time.sleep(0.05)
        second = more.curate("run", check=False)
        assert second.returncode == 1
        assert f"process {first.pid} on" in second.stderr
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
    while processes_of(more.state):
        time.sleep(0.1)

    (more.state / "mlflow.db").rename(tmp_path / "kept.db")
    (more.state / "mlflow.db").mkdir()
    said = more.curate("run").stdout
    assert "MLflow does not have" in said
    lake = Lake.open(more.state / "lake")
    states = history(lake, MAIN)
    assert [state.ordinal for state in states] == [0, 1, 2, 3]
    with dg.DagsterInstance.from_config(str(more.state / "dagster")) as instance:
        statuses = {run.status for run in instance.get_runs()}
        assert statuses == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}  # of the killed one
    for folder in ("drafts", "scratch"):
        assert not list((more.state / "work" / folder).glob("*.lock"))

    (more.state / "mlflow.db").rmdir()
    (tmp_path / "kept.db").rename(more.state / "mlflow.db")
    assert f"MLflow now has {states[3].own['policies']}, {states[3].own['checkpoints']}" in more.curate("run").stdout
    assert {states[3].own["policies"], states[3].own["checkpoints"]} <= TrackingResource(
        folder=str(more.state)
    ).finished()
