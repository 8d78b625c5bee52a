"""MLflow's database whose set-up is broken off for real: by a kill, by a full disk; and what earlier versions left."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from resources.tracking import TrackingResource

pytestmark = pytest.mark.slow  # each process imports MLflow

OPEN = """
import os, signal, sys
import sqlalchemy
from resources.tracking import TrackingResource
left = int(sys.argv[2])
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
if left:
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", count)
with TrackingResource(folder=sys.argv[1]).run("checkpoint", "w", attempt=0) as run:
    run.set_tags({"curation.manifest_id": "checkpoints-1"})
"""


def open_database(folder: Path, kill_at: int = 0, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Log one run in a process of its own, killed before a statement or with files limited to some bytes."""

    def bound() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPEN, str(folder), str(kill_at)],
        preexec_fn=bound, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def test_a_set_up_that_is_killed_or_runs_out_of_disk_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    for kill_at in (3, 200):
        assert open_database(tmp_path, kill_at).returncode == -signal.SIGKILL
        assert not (tmp_path / "mlflow.db").exists()
    assert open_database(tmp_path, limit=100_000).returncode == 1
    assert not (tmp_path / "mlflow.db").exists()
    done = open_database(tmp_path)
    assert done.returncode == 0, done.stderr
    assert TrackingResource(folder=str(tmp_path)).finished() == {"checkpoints-1"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["mlflow.db", "mlflow.lock"]


@pytest.mark.parametrize("kill_at", [3, 200])
def test_a_half_made_database_is_set_aside(tmp_path: Path, kill_at: int, caplog: pytest.LogCaptureFixture) -> None:
    database = tmp_path / "mlflow.db"
    plain = OPEN.replace("TrackingResource(folder=sys.argv[1])", "Plain()").replace(
        "left = int", "from mlflow import MlflowClient\nuri = f'sqlite:///{sys.argv[1]}/mlflow.db'\nleft = int"
    )
    plain = plain.replace('with Plain().run("checkpoint", "w", attempt=0) as run:', "MlflowClient(uri, uri)\nif False:")
    command = [sys.executable, "-W", "ignore", "-c", plain, str(tmp_path), str(kill_at)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, check=False, env=environment, capture_output=True)
    assert database.exists()
    with TrackingResource(folder=str(tmp_path)).run("checkpoint", "w") as run:
        run.set_tags({"curation.manifest_id": "checkpoints-1"})
    assert "it was set aside as mlflow.db.unusable-" in caplog.text
    assert len(list(tmp_path.glob("mlflow.db.unusable-*"))) == 1
    assert TrackingResource(folder=str(tmp_path)).finished() == {"checkpoints-1"}


@pytest.mark.parametrize("content", [b"", b"no database at all, but some text that is long enough to be read" * 9])
def test_what_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    assert TrackingResource(folder=str(tmp_path)).finished() == set()
    assert [path.read_bytes() for path in tmp_path.glob("mlflow.db.unusable-*")] == [content]


def test_a_database_with_runs_is_never_set_aside(tmp_path: Path) -> None:
    with TrackingResource(folder=str(tmp_path)).run("checkpoint", "w") as run:
        run.set_tags({"curation.manifest_id": "checkpoints-1"})
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0badcafe'")  # another version of MLflow's
    assert TrackingResource(folder=str(tmp_path)).finished() == {"checkpoints-1"}
    assert not list(tmp_path.glob("*unusable*"))
