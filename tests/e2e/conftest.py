"""One run of the whole graph on a tiny profile, made once for all workers, copies of it, and a running web server."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import pytest
import yaml
from filelock import FileLock

from curation_pipeline import cli
from curation_pipeline.cli_screen import FILE_WIDTH, Screen
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.state import MAIN, history
from tests.wheel import Installed

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny.toml"
CURATE = Path(sys.executable).with_name("curate")


DONE, BUDGET = 2, 3
"""Iterations that the state has at first, and those that the profile allows."""
HERE = ("--profile", "mine", "--state", "state")
"""Options of a command in the folder of the installed package."""
SELECTOR = {"repositoryLocationName": "curation", "repositoryName": "__repository__", "pipelineName": "iteration"}
SENSOR = "next_iteration"


@dataclass(frozen=True, slots=True)
class Project:
    """A state folder and how to run commands on it.

    Attributes:
        state: the folder of all state.
        profile: a profile's file.
        program: `curate`, that of the checkout or one that is installed elsewhere.
    """

    state: Path
    profile: Path = TINY
    program: Path = CURATE

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CURATION_PROFILE": str(self.profile),
            "CURATION_STATE": str(self.state),
            "DAGSTER_HOME": str(self.state / "dagster"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }

    def curate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user does."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment, cwd=self.state.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check:
            logs = "".join(log.read_text()[-3000:] for log in (self.state / "logs").glob("*.log"))
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
        return done

    def ask(self, *arguments: str) -> str:
        """What a command that runs nothing prints, without the seconds that a process of its own takes to start."""
        wide = mock.patch.object(cli, "console", Screen(width=FILE_WIDTH))  # ids stay whole, as in a file
        with mock.patch.dict(os.environ, self.environment), contextlib.redirect_stdout(io.StringIO()) as said, wide:
            cli.app(arguments, standalone_mode=False)
        return said.getvalue()

    def python(self, script: str) -> list[str]:
        """The lines that a script prints that imports the definitions for this profile and state."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=self.environment, cwd=self.state.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()

    def copied(self, folder: Path, *changes: tuple[str, str]) -> Project:
        """A copy of the state, and a profile in which texts are replaced by others."""
        text = self.profile.read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (folder / "other.toml").write_text(text)
        # Another worker may read the databases, and what SQLite puts next to them meanwhile comes and goes.
        shutil.copytree(self.state, folder / "state", ignore=shutil.ignore_patterns("*-wal", "*-shm", "*-journal"))
        return Project(folder / "state", folder / "other.toml")


def wait_for(what: str, true: Callable[[], Any], seconds: float, every: float = 0.3) -> Any:
    """Poll until something is true, and fail with its name if it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := true():
                return found
        time.sleep(every)
    pytest.fail(f"waited {seconds:.0f} s for {what}")


def deployed_instance(state: Path) -> Path:
    """The instance of a deployment as that of a state folder, with the logs of running steps there; its file."""
    settings = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
    settings["compute_logs"]["config"]["local_dir"] = str(state / "step-logs")
    path = state / "dagster" / "dagster.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(settings))
    return path


@contextlib.contextmanager
def serving(project: Project, *options: str) -> Iterator[str]:
    """`curate ui` on a project's state, ended with all that it started; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = project.state.parent / "ui.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [project.program, "ui", "--port", str(port), *options],
            env=project.environment, cwd=project.state.parent, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        with urllib.request.urlopen(f"{url}/server_info", timeout=60) as answer:
            return bool(answer.status == 200)

    try:
        wait_for("the web server", answers, 1800)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, package_cache: Path) -> Project:
    """Two iterations and one arm, run by `curate run` once for all workers; who writes to it takes a copy."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    project = Project(shared / "finished" / "state")
    with FileLock(shared / "finished.lock"):
        if not (project.state / "report.html").exists():  # the last file of a run
            project.state.parent.mkdir(exist_ok=True)
            project.curate("run")
    return project


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

    def windows(self) -> list[str]:
        """The windows of the iterations; none while the code location is not loaded."""
        said = self.ask(
            'query { assetNodeOrError(assetKey: {path: ["iteration_gate"]}) { ... on AssetNode '
            "{ partitionKeysByDimension { partitionKeys } } } }"
        )
        dimensions = said["assetNodeOrError"].get("partitionKeysByDimension")
        return list(dimensions[0]["partitionKeys"]) if dimensions else []

    def window(self, ordinal: int) -> str:
        return self.windows()[ordinal - 1]

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

    def skipped(self) -> str:
        """Why the last ticks of the sensor that chains iterations asked for nothing."""
        said = self.ask(
            "query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState "
            "{ ticks(limit: 5) { skipReason } } } } }",
            s={**{name: SELECTOR[name] for name in ("repositoryLocationName", "repositoryName")}, "sensorName": SENSOR},
        )
        return str(said["sensorOrError"]["sensorState"]["ticks"])

    def commits(self) -> list[int]:
        return [state.ordinal for state in history(self.lake, MAIN)]


@dataclass(frozen=True, slots=True)
class Elsewhere(Project):
    """A project that an installed package runs, in the folder that the package was installed next to."""

    installed: Installed | None = None

    @property
    def environment(self) -> dict[str, str]:
        assert self.installed is not None
        return self.installed.environment


@pytest.fixture(scope="package")
def elsewhere(finished: Project, installed: Installed) -> Elsewhere:
    """A copy of the finished state without what is served of it."""
    copied = finished.copied(
        installed.folder,
        ("max_iterations = 2", f"max_iterations = {BUDGET}"),
        # A fit of many short updates that saves after each of them: a machine of any speed can be caught in its middle.
        ("[training]\n", "[training]\nsave_every_seconds = 0\nmicro_batch_size = 1\n"),
    )
    copied.profile.rename(installed.folder / "mine")  # a relative profile without a suffix
    for name in ("served", "warehouse"):
        shutil.rmtree(copied.state / name)
    (copied.state / "report.html").unlink()
    home = copied.state / "dagster" / "dagster.yaml"
    # The daemon looks for dead workers every two minutes otherwise.
    home.write_text(home.read_text().replace("run_monitoring:\n", "run_monitoring:\n  poll_interval_seconds: 3\n"))
    program = installed.python.with_name("curate")
    return Elsewhere(copied.state, installed.folder / "mine", program, installed)


@pytest.fixture(scope="package")
def server(elsewhere: Elsewhere) -> Iterator[Server]:
    """The copy, served by `curate ui`."""
    with serving(elsewhere, *HERE) as url:
        running = Server(elsewhere, url)
        wait_for("the code location", running.windows, 1800)
        yield running
