"""A deployment's parts on Postgres: the instance of deploy/dagster.yaml, a code server, a web server and daemons.

What runs is the loop's gate, on a lake without a cold start: it is the loop's cheapest step, and refuses. So what is
tested is what comes before any work: the queue, its order, the pool, and what survives a daemon.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import dagster as dg
import pytest
import yaml
from dagster._core.storage.dagster_run import RunRecord

from tests.e2e.conftest import SELECTOR, TINY, Project, Server, deployed_instance, wait_for
from tests.postgres_server import postgres_server
from tests.s3_server import KEYS, client, free_ports, s3_server

pytest.importorskip("dagster_postgres", reason="pip install -e .[postgres]")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

WINDOWS = int(os.environ.get("BACKFILL_WINDOWS", "4"))
"""Of the backfill; each run imports the whole project."""
TICKING = (("schedule", "nightly"), ("sensor", "next_iteration"), ("sensor", "reconcile_commits"))
DAEMON = ("-m", "dagster._daemon", "run")


@dataclass(frozen=True, slots=True)
class Deployed(Project):
    """A project whose instance is on servers.

    Attributes:
        variables: what the instance reads from the environment.
    """

    variables: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        return {**Project.environment.fget(self), **dict(self.variables)}  # type: ignore[attr-defined]


class Deployment:
    """What runs, each part in a process of its own."""

    def __init__(self, project: Project, stack: ExitStack) -> None:
        self.project, self._stack = project, stack
        self._started = 0
        code, web = free_ports(2)
        workspace = project.state / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": code, "location_name": SELECTOR["repositoryLocationName"]}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        self._workspace = ("-w", str(workspace))
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "dagster", "instance", "migrate"],
            env=project.environment, check=True, capture_output=True,
        )  # fmt: skip
        self.start("-m", "dagster", "api", "grpc", "-m", "assets.definitions", "-p", str(code))
        wait_for("the code server", lambda: not socket.create_connection(("127.0.0.1", code)).close(), 1800)
        self.start("-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(web), *self._workspace)
        self.server = Server(project, f"http://127.0.0.1:{web}")

        def answers() -> bool:
            with urllib.request.urlopen(f"{self.server.url}/server_info", timeout=60) as answer:
                return bool(answer.status == 200)

        wait_for("the web server", answers, 1800)
        wait_for("the code location", self.server.windows, 1800)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A process of the deployment, which ends with the test."""
        self._started += 1
        log = (self.project.state / f"process-{self._started}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *arguments],
            env=self.project.environment, cwd=self.project.state, stdout=log, stderr=log,
        )  # fmt: skip
        self._stack.callback(end, process)
        return process

    def daemon(self) -> subprocess.Popen[bytes]:
        """A daemon as a deployment starts it."""
        return self.start(*DAEMON, *self._workspace)

    def backfill(self, windows: list[str]) -> str:
        """Ask for some windows of the gate as the UI does; the backfill's id."""
        said = self.server.ask(
            "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename "
            "... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
            p={"assetSelection": [{"path": ["iteration_gate"]}], "partitionNames": windows},
        )["launchPartitionBackfill"]
        assert said["__typename"] == "LaunchBackfillSuccess", said
        return str(said["backfillId"])

    def ticks(self, kind: str, name: str) -> list[float]:
        """When a schedule or a sensor has ticked, seconds since 1970."""
        selector = {key: SELECTOR[key] for key in ("repositoryLocationName", "repositoryName")} | {f"{kind}Name": name}
        said = self.server.ask(
            f"query($s: {kind.title()}Selector!) {{ {kind}OrError({kind}Selector: $s) {{ ... on {kind.title()} "
            f"{{ {kind}State {{ ticks(limit: 500) {{ timestamp }} }} }} }} }}",
            s=selector,
        )
        return [float(tick["timestamp"]) for tick in said[f"{kind}OrError"][f"{kind}State"]["ticks"]]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("deployed")
        s3, database = stack.enter_context(s3_server(folder / "s3")), stack.enter_context(postgres_server())
        client(s3).create_bucket(Bucket="logs")
        profile = folder / "deployed.toml"
        # A schedule that can be seen to tick.
        profile.write_text(
            TINY.read_text().replace("[loop]\n", '[loop]\nnightly_cron = "*/2 * * * *"\nfuture_windows = 120\n')
        )
        variables = {
            "AWS_ACCESS_KEY_ID": "curator", "AWS_SECRET_ACCESS_KEY": KEYS["curator"], "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": s3, "CURATION_LOG_BUCKET": "logs", "DAGSTER_POSTGRES_URL": database,
        }  # fmt: skip
        project = Deployed(folder / "state", profile, variables=tuple(variables.items()))
        deployed_instance(project.state)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in project.environment.items():
                patch.setenv(name, value)
            yield Deployment(project, stack)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process in good order, since a code server has run workers below it."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def limit_of_the_loop() -> bool:
    """Whether the daemon's sensors have made the pool known, without which a queue's first pass is not limited."""
    with dg.DagsterInstance.get() as instance:
        return any(
            pool.name == "curation_loop" and pool.limit == 1 for pool in instance.event_log_storage.get_pool_limits()
        )


def ticks_after(deployment: Deployment, kind: str, name: str, before: list[float]) -> list[float]:
    """All ticks, once there are newer ones than before."""
    now = deployment.ticks(kind, name)
    return now if max(now, default=0) > max(before, default=0) else []


def status_of(backfill: str) -> str:
    with dg.DagsterInstance.get() as instance:
        found = instance.get_backfill(backfill)
        return "" if found is None else found.status.value


def runs_of(backfill: str) -> list[RunRecord]:
    """The runs of a backfill in order of their windows."""
    with dg.DagsterInstance.get() as instance:
        found = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    return sorted(found, key=lambda record: record.dagster_run.tags["dagster/partition"])


def check(backfill: str, windows: list[str]) -> None:
    """Wait for the end of a backfill: each window has run once, one at a time and in order, and was refused."""
    wait_for("the end of the backfill", lambda: status_of(backfill).endswith("FAILED"), 7000, every=2)
    found = runs_of(backfill)
    assert [record.dagster_run.tags["dagster/partition"] for record in found] == windows
    for one, following in itertools.pairwise(found):
        assert one.end_time is not None
        assert following.start_time is not None
        assert one.end_time <= following.start_time
    with dg.DagsterInstance.get() as instance:
        (refused,) = instance.all_logs(found[-1].dagster_run.run_id, dg.DagsterEventType.STEP_FAILURE)
    assert "may not start" in str(refused.dagster_event)


def test_backfills_go_through_the_queue_in_order_whatever_becomes_of_the_daemon(deployment: Deployment) -> None:
    """It is killed in the middle; later there are two, which Dagster advises against: ticks double, runs do not."""
    windows = deployment.server.windows()
    first = deployment.daemon()
    wait_for("the pool's limit", limit_of_the_loop, 600)
    wait_for("the schedule", lambda: deployment.ticks("schedule", "nightly"), 600)
    backfill = deployment.backfill(windows[1 : WINDOWS + 1])  # the schedule asks for the first window
    wait_for("two windows", lambda: sum(bool(run.end_time) for run in runs_of(backfill)) >= 2, 1800)
    first.kill()
    first.wait()
    before = {name: deployment.ticks(kind, name) for kind, name in TICKING}
    daemons = [deployment.daemon()]
    check(backfill, windows[1 : WINDOWS + 1])
    for kind, name in TICKING:
        ask = functools.partial(ticks_after, deployment, kind, name, before[name])
        assert set(before[name]) <= set(wait_for(f"{name} to go on", ask, 600)), "ticks before the restart are kept"
    times = deployment.ticks("schedule", "nightly")
    assert len({int(time // 60) for time in times}) == len(times), "none is made up for twice"
    daemons.append(deployment.daemon())
    others = windows[WINDOWS + 1 : WINDOWS + 4]
    check(deployment.backfill(others), others)
    assert all(daemon.poll() is None for daemon in daemons)
