"""MLflow's SQLite file, whole or not there: set up under another name and renamed, and set aside where it is no use."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path

logger = logging.getLogger(__name__)


def prepare(database: Path, artifacts: str) -> None:
    """Have a whole database; whoever calls this holds the lock of its folder.

    MLflow's own set-up is a hundred migrations without a transaction around them: broken off by a crash or a full disk,
    neither it nor a later start can go on.

    Args:
        database: path of the SQLite file.
        artifacts: URI of the folder of MLflow's default experiment.
    """
    for left in database.parent.glob(f".{database.name}.*"):  # of a set-up that was killed
        left.unlink()
    if database.exists():
        problem = _problem(database)
        if problem is None:
            return
        aside = database.with_name(f"{database.name}.unusable-{time.time_ns()}")
        os.replace(database, aside)
        for suffix in ("-journal", "-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        logger.warning(
            "%s is no whole MLflow database (%s): it was set aside as %s and a new one begun, into which what the lake "
            "holds is logged again", database, problem, aside.name,
        )  # fmt: skip
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    temporary = database.with_name(f".{database.name}.{uuid.uuid4().hex[:8]}")
    try:
        SqlAlchemyStore(f"sqlite:///{temporary}", artifacts).engine.dispose()
        os.replace(temporary, database)
    finally:
        temporary.unlink(missing_ok=True)


def _problem(database: Path) -> str | None:
    """Why a database is of no use; None for one that is whole, or that holds runs and is MLflow's to judge.

    Raises:
        sqlite3.OperationalError: it cannot be read at the moment.
    """
    from mlflow.store.db.utils import _get_latest_schema_revision as latest

    try:
        with closing(sqlite3.connect(database)) as connection:
            if connection.execute("SELECT count(*) FROM runs").fetchone()[0]:
                return None
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        raise
    wanted = latest()
    return None if found and found[0] == wanted else f"its schema is {found[0] if found else 'none'}"
