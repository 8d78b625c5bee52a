"""One run of the whole graph on a tiny profile, shared by the end-to-end tests, and a running web server."""

from __future__ import annotations

import contextlib
import os
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

import pytest

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny.toml"


@dataclass(frozen=True, slots=True)
class Project:
    """A state folder and how to run commands on it."""

    state: Path
    profile: Path = TINY

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
            [Path(sys.executable).with_name("curate"), *arguments],
            env=self.environment, cwd=self.state.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check:
            logs = "".join(log.read_text()[-3000:] for log in (self.state / "logs").glob("*.log"))
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
        return done


def wait_for(what: str, true: Callable[[], Any], seconds: float, every: float = 0.3) -> Any:
    """Poll until something is true, and fail with its name if it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := true():
                return found
        time.sleep(every)
    pytest.fail(f"waited {seconds:.0f} s for {what}")


@contextlib.contextmanager
def serving(project: Project) -> Iterator[str]:
    """`curate ui` on a project's state, ended with all that it started; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = project.state.parent / "ui.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        command = [Path(sys.executable).with_name("curate"), "ui", "--port", str(port)]
        process = subprocess.Popen(
            command, env=project.environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )

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
    """Two iterations and one arm, run by `curate run`."""
    project = Project(tmp_path_factory.mktemp("finished") / "state")
    project.curate("run")
    return project
