"""Code server and web server started as compose.yaml starts them, each alone."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from curation_pipeline.installation import PROJECT_ROOT
from tests.e2e.conftest import Project, Server, serving, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SERVICES = yaml.safe_load((PROJECT_ROOT / "deploy" / "compose.yaml").read_text())["services"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "state")
    (project.state / "dagster").mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "dagster.yaml", project.state / "dagster")
    return project


@pytest.fixture
def workspace(project: Project, tmp_path: Path) -> Iterator[Path]:
    """A code server, and the workspace file that names it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*SERVICES["code"]["command"]]
    command[command.index("--host") + 1] = "127.0.0.1"
    command[command.index("--port") + 1] = str(port)
    text = (PROJECT_ROOT / "deploy" / "workspace.yaml").read_text()
    path = tmp_path / "workspace.yaml"
    path.write_text(text.replace("host: code", "host: 127.0.0.1").replace("port: 4000", f"port: {port}"))
    process = subprocess.Popen([sys.executable, "-m", *command], env=project.environment, cwd=tmp_path)
    yield path
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()


def test_the_web_server_serves_what_a_code_server_elsewhere_has(project: Project, workspace: Path) -> None:
    assert "--workspace" in SERVICES["webserver"]["command"]
    with serving(project, "--workspace", str(workspace)) as url:
        server = Server(project, url)
        wait_for("the code server's iterations", server.windows, 1800)
        with urllib.request.urlopen(f"{url}/metrics", timeout=600) as answer:
            assert b"# TYPE curation_step_seconds_total counter" in answer.read()
        said = server.ask("{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }")
        statuses = said["instance"]["daemonHealth"]["allDaemonStatuses"]
        assert statuses
        assert not [status for status in statuses if status["healthy"]], "the daemon runs elsewhere"
