"""One run of the whole graph on a tiny profile, shared by the end-to-end tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, package_cache: Path) -> Project:
    """Two iterations and one arm, run by `curate run`."""
    project = Project(tmp_path_factory.mktemp("finished") / "state")
    project.curate("run")
    return project
