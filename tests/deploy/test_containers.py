"""The image and the compose file, checked by hadolint and by Docker Compose itself; neither needs a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation_pipeline.config import load_profile
from curation_pipeline.installation import PROJECT_ROOT

DEPLOY = PROJECT_ROOT / "deploy"
SECRETS = {
    "POSTGRES_PASSWORD": "0123456789abcdef",
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "fedcba9876543210",
    "CURATION_UI_TOKEN": "a" * 32,
}


def program(name: str) -> str:
    """A program of the extra `test`."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: pip install -e .[test]")
    return found


def compose(**variables: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config` with these variables and no others."""
    command = [program("docker-compose"), "--file", str(DEPLOY / "compose.yaml"), "config"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)


class TestImage:
    TEXT = (DEPLOY / "Dockerfile").read_text()

    def test_hadolint_has_nothing_to_say(self) -> None:
        command = [program("hadolint"), "--no-color", str(DEPLOY / "Dockerfile")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_it_copies_what_the_wheel_is_made_of_and_installs_extras_that_exist(self) -> None:
        project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
        wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
        needed = {*wheel["only-include"], *wheel["force-include"], "pyproject.toml", project["project"]["readme"]}
        copied = {
            name for line in re.findall(r"^COPY (?!--)(.+) \S+$", self.TEXT, re.MULTILINE) for name in line.split()
        }
        assert needed | {"constraints.txt", *project["project"]["license-files"]} == copied
        assert not [name for name in copied if not (PROJECT_ROOT / name).exists()]
        allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        assert copied == {line[1:] for line in allowed if line.startswith("!")}
        (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", self.TEXT, re.MULTILINE)
        assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()

    def test_it_runs_as_a_numbered_user_other_than_root(self) -> None:
        last = self.TEXT.rpartition("\nFROM ")[2]
        assert re.search(r"^USER [1-9]\d*$", last, re.MULTILINE)  # Kubernetes cannot check a name


class TestCompose:
    def test_it_is_whole(self) -> None:
        done = compose(**SECRETS, COMPOSE_PROFILES="s3")
        assert done.returncode == 0, done.stderr
        project: dict[str, Any] = yaml.safe_load(done.stdout)
        services = project["services"]
        assert services.keys() == {"code", "daemon", "webserver", "mlflow", "postgres", "s3", "bucket"}
        for name, service in services.items():
            assert re.search(r":\w*\d[\w.-]*$", service["image"]), f"{name} has no pinned image"
            for port in service.get("ports", ()):
                assert port["host_ip"] == "127.0.0.1", f"{name} is open to other machines"
        for name, entry in project["configs"].items():
            if "file" in entry:
                assert Path(entry["file"]).is_file(), f"{name}: {entry['file']} is missing"
        (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
        server = location["grpc_server"]
        command = services[server["host"]]["command"]
        assert command[command.index("--port") + 1] == str(server["port"])

    def test_your_own_bucket_needs_no_server_here(self) -> None:
        services = yaml.safe_load(compose(**SECRETS).stdout)["services"]
        assert services.keys() == {"code", "daemon", "webserver", "mlflow", "postgres"}

    @pytest.mark.parametrize("missing", sorted(SECRETS))
    def test_a_missing_secret_is_named(self, missing: str) -> None:
        done = compose(**{name: value for name, value in SECRETS.items() if name != missing})
        assert done.returncode != 0
        assert f"required variable {missing} is missing" in done.stderr

    def test_its_profile_is_valid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        profile = load_profile(str(DEPLOY / "profile.toml"))
        assert profile.lake.root == "s3://curation/lake"
