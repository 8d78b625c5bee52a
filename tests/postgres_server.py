"""A real Postgres server on this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import free_ports

PASSWORD = "a-databases-secret"


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A server with an empty database; its address for SQLAlchemy, which holds the password."""
    debians = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    programs = os.pathsep.join([os.environ.get("PATH", os.defpath), *debians])
    initdb, pg_ctl = (shutil.which(name, path=programs) for name in ("initdb", "pg_ctl"))
    if initdb is None or pg_ctl is None:
        pytest.skip("no Postgres server: apt-get install postgresql")
    # The server refuses to run as root, and a user of its own cannot enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    who: dict[str, object] = {}
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("Postgres does not run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def call(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **who)  # type: ignore[call-overload]
        log = folder / "log"
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log.read_text() if log.exists() else ''}"

    try:
        (folder / "password").write_text(PASSWORD)
        data, (port,) = folder / "data", free_ports(1)
        call(
            initdb, "--pgdata", str(data), "--username", "dagster", "--pwfile", str(folder / "password"),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync",
        )  # fmt: skip
        options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        call(pg_ctl, "start", "-w", "-t", "120", "-D", str(data), "-l", str(folder / "log"), "-o", options)
        try:
            yield f"postgresql+psycopg2://dagster:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            call(pg_ctl, "stop", "-w", "-D", str(data), "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
