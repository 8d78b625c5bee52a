"""What the command line starts: Dagster jobs in a process of their own, and the web UI in place of this one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from curation_pipeline.cli_screen import Tell, progress_of
from curation_pipeline.config import active_profile, state_folder
from curation_pipeline.errors import ConfigError, CurationError
from curation_pipeline.installation import PROJECT_ROOT, project_environment
from curation_pipeline.lake.lock import Holder, lock
from curation_pipeline.processes import how_it_ended

if TYPE_CHECKING:
    from curation_pipeline.report.section import ReportData

PATIENCE_SECONDS = 60.0
"""How long what a killed run had started may take to end."""

DRAIN_SECONDS = 10.0
"""How long to read on after the runner has ended: what it had started may hold its output open for ever."""
LITTLE_BYTES = 2**20
"""With less room than this a disk counts as full."""

TAIL_BYTES = 65_536
"""How much of a log's end is looked at."""


class StateInUseError(CurationError):
    """Another process runs on the same state folder."""


@contextmanager
def alone(state: Path, what: str) -> Iterator[int]:
    """Be the only `curate` process that runs jobs on a state folder.

    Yields:
        A file descriptor; processes that inherit it keep others out too.

    Raises:
        StateInUseError: another process does; it is named.
    """

    def refuse(holder: Holder, waited: float) -> None:
        if waited < PATIENCE_SECONDS and holder.gone:
            return  # it has been killed, and what it started is about to end; or it has not written its name yet
        raise StateInUseError(
            f"{state} is in use by {holder}: wait until it has ended, or end it; or give another folder (--state)"
        )

    with lock(state / "run.lock", f"`curate {what}`", refuse) as descriptor:
        yield descriptor


def run_dagster(console: Console, arguments: list[str]) -> None:
    """Run `assets.runner` (`python -m assets`) in a process of its own and show how far each of its jobs is.

    It is started by module name: this package is below the assets and does not import them. It ends when this process
    does, also where this one is killed.

    Raises:
        StateInUseError: another process runs on the same state.
        CurationError: it failed; its message, and the file with its whole output.
    """
    state = Path(os.environ["CURATION_STATE"])
    log = state / "logs" / f"{arguments[0]}.log"
    with alone(state, arguments[0]) as descriptor:
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**project_environment(), "PYTHONWARNINGS": "ignore"}
        with log.open("wb", buffering=0) as output:  # what a full disk does not take must not come up again
            process = subprocess.Popen(
                [sys.executable, "-m", "assets", "--end-with-parent", *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True, encoding="utf-8",
                errors="replace", env=environment, pass_fds=(descriptor,),
            )  # fmt: skip
            try:
                message = _follow(console, process, output)
            finally:
                if process.poll() is None:
                    process.terminate()
                code = process.wait()
    if code:
        raise CurationError(_failure(message, how_it_ended(code), log) + _storage(state))


def _follow(console: Console, process: subprocess.Popen[str], log: IO[bytes]) -> str:
    """Draw what the runner tells until it ends; the error that it told, or nothing."""
    errors: list[str] = []

    def read(tell: Tell) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = _told(line)
            if said is None:
                with suppress(OSError):  # a full disk: what is told matters more
                    log.write(line.encode())
            elif "error" in said:
                errors.append(said["error"])
            elif "note" in said:
                console.print(said["note"], soft_wrap=True)
            elif "committed" in said:
                print_results(console, said["committed"])
            else:
                tell(said["job"], said["step"], said["fraction"])

    with progress_of(console) as tell:
        reading = threading.Thread(target=read, args=(tell,), daemon=True)
        reading.start()
        process.wait()
        reading.join(DRAIN_SECONDS)
    return errors[-1] if errors else ""


def _told(line: str) -> dict[str, Any] | None:
    """What the runner tells with a line; None for a library that prints."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    known = isinstance(said, dict) and (
        said.keys() & {"error", "note", "committed"} or said.keys() >= {"job", "step", "fraction"}
    )
    return said if known else None


def print_results(console: Console, upto: int | None = None) -> ReportData:
    """Print the results table of the active profile, up to an iteration; what it was made of."""
    from curation_pipeline.report.page import gather
    from curation_pipeline.report.sections.arms import terminal_table
    from curation_pipeline.stages.context import open_context

    data = gather(open_context(active_profile()), upto)
    console.print(terminal_table(data))
    return data


def show_results(console: Console, write: bool = False) -> None:
    """Print the results table and where the HTML report is, which a run writes.

    Args:
        console: where to print.
        write: write the report now.
    """
    from curation_pipeline.report.page import write_report
    from curation_pipeline.stages.context import open_context

    data, path = print_results(console), state_folder() / "report.html"
    if write or not path.is_file():
        write_report(open_context(active_profile()), path, data)
    console.print(f"Report   {path}", soft_wrap=True)
    console.print("Next     curate ui             the graph, runs and lineage in the web UI")
    console.print("         curate why URL        everything about one document")
    console.print("         curate lineage last   the data behind the last checkpoint")


def open_ui(host: str, port: int, workspace: Path | None) -> NoReturn:
    """Become the web UI of the active profile and state.

    Args:
        host: address to listen on.
        port: of the web server.
        workspace: file of a code server that runs elsewhere, with its daemon; both are started here where None.

    Raises:
        ConfigError: Dagster cannot open its home.
    """
    dagster, environment = [sys.executable, "-m", "dagster"], project_environment()
    # A fresh SQLite home must have its tables before web server and daemon start together, or they race.
    pools = ("curation_loop", "curation_experiment", "serving_database")
    for arguments in (["migrate"], *(["concurrency", "set", pool, "1"] for pool in pools)):
        done = subprocess.run([*dagster, "instance", *arguments], env=environment, capture_output=True, text=True)
        if done.returncode:
            home = os.environ["DAGSTER_HOME"]
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise ConfigError(
                f"Dagster cannot open its home {home} ({said[-1].strip()}); correct {home}/dagster.yaml, or delete it: "
                "a sound copy is put back"
            )
    command = [sys.executable, "-m", "resources.web_server", "--host", host, "--port", str(port)]
    command += ["--workspace", str(workspace or PROJECT_ROOT / "workspace.yaml"), *(["--alone"] if workspace else [])]
    os.execve(command[0], command, environment)


def _failure(message: str, ended: str, log: Path) -> str:
    """What to tell of a failure; the log says it too, whatever became of the process that should have written it."""
    try:
        with log.open("rb+") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            written = stream.read(TAIL_BYTES).decode("utf-8", "replace").strip()
            if not message:  # it ended before it could tell: an import that failed, a signal
                errors = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", written, re.MULTILINE)
                message = f"{ended}: {errors[-1]}" if errors else ended
            if message not in written:
                stream.write(f"{message}\n".encode("utf-8", "replace"))
    except OSError as error:
        return f"{message or ended}. Its log {log} could not be written: {error.strerror or error}"
    return f"{message}. See {log}"


def _storage(state: Path) -> str:
    """What is wrong with the disk of a folder, which shows in as many errors as there are libraries; or nothing."""
    disk = os.statvfs(state)
    if disk.f_bavail * disk.f_frsize < LITTLE_BYTES:
        return f". The disk of {state} is full: make room and run again, finished work is kept"
    if not os.access(state, os.W_OK):
        return f". {state} cannot be written: make it writable, or give another folder (--state)"
    return ""
