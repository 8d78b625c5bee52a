"""What the command line makes of its runner: one at a time, none outlives it, and each failure is in the log."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curation_pipeline import cli_run, installation
from curation_pipeline.cli_run import StateInUseError, run_dagster
from curation_pipeline.cli_screen import Screen
from curation_pipeline.errors import CurationError

Run = Callable[[str], str]
WAITS = """
import os, pathlib, sys, time
from curation_pipeline.processes import end_with_parent
end_with_parent()
pathlib.Path(os.environ["CURATION_STATE"], "runner").write_text(str(os.getpid()))
time.sleep(600)
"""
CURATE = """
import sys
from pathlib import Path
from curation_pipeline.cli_screen import Screen
from curation_pipeline import cli_run, installation
installation.PROJECT_ROOT = Path(sys.argv[1])
cli_run.run_dagster(Screen(), ["run"])
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURATION_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(installation, "PROJECT_ROOT", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "__init__.py").touch()  # a package, so that it goes before the one that is installed
    (tmp_path / "curation_pipeline").symlink_to(Path(cli_run.__file__).parent)
    return tmp_path / "state"


@pytest.fixture
def run(state: Path) -> Run:
    """Runs a script in the place of the runner; what is shown meanwhile."""

    def run(script: str) -> str:
        (state.parent / "assets" / "__main__.py").write_text(script)
        shown = io.StringIO()
        run_dagster(Screen(file=shown, width=200), ["run"])
        return shown.getvalue()

    return run


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> str:
    while not (path.exists() and path.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    return path.read_text()


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("import nowhere_to_be_found", "code 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("syntax error", "SyntaxError: invalid syntax"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9, SIGKILL (where nobody sent it, the machine ran out"),
        ("import os; os.kill(os.getpid(), 11)", "ended by signal 11, SIGSEGV"),
        ("import os; os.fork() and os._exit(5); import time; time.sleep(20)", "the process ended with code 5"),
        ("import sys; sys.exit(3)", "the process ended with code 3"),
        ("""print('{"error": "DataError: [b]x[/b] is wrong"}'); raise SystemExit(1)""", "DataError: [b]x[/b] is wrong"),
        ("print('3'); print('[]'); print('{\"job\": 1}'); 1/0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.exit('no luck')", "the process ended with code 1"),
    ],
)
def test_a_failure_is_told_and_its_log_holds_it(state: Path, run: Run, script: str, told: str) -> None:
    with pytest.raises(CurationError) as caught:
        run(script)
    assert told in str(caught.value)
    log = state / "logs" / "run.log"
    assert str(caught.value).endswith(f"See {log}")
    assert told.removeprefix("code 1: ") in log.read_text(errors="replace")


def test_a_log_that_cannot_be_written_is_said_and_hides_nothing(state: Path) -> None:
    told = """import sys; print("x" * 99_999); print('{"error": "DataError: broken"}'); sys.exit(1)"""
    (state.parent / "assets" / "__main__.py").write_text(told)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))"  # a disk that fills up
    done = subprocess.run([sys.executable, "-c", limit + CURATE, str(state.parent)], capture_output=True, text=True)
    assert re.search(r"DataError: broken\. Its log .*run\.log could not be written: File too large", done.stderr)


def test_progress_and_notes_are_shown_and_what_libraries_print_is_logged(state: Path, run: Run) -> None:
    shown = run(
        """print('{"job": "loop", "step": "s", "fraction": 1}'); print('{"note": "a [note]"}'); print("a library")"""
    )
    assert "a [note]" in shown
    assert "loop" in shown
    assert (state / "logs" / "run.log").read_text() == "a library\n"


def test_a_second_run_is_refused_with_the_first_ones_process(state: Path, run: Run) -> None:
    (state.parent / "assets" / "__main__.py").write_text(f"print('of the first', flush=True)\n{WAITS}")
    with subprocess.Popen([sys.executable, "-c", CURATE, str(state.parent)], stdout=subprocess.DEVNULL) as first:
        runner = int(wait_for(state / "runner", first))
        with pytest.raises(StateInUseError, match=rf"{re.escape(str(state))}.*process {first.pid} on .*--state"):
            run("raise SystemExit('of the second')")
        assert (state / "logs" / "run.log").read_text() == "of the first\n"
        # Killed, it takes its runner along, and the next run neither finds a lock nor asks for anything to be deleted.
        first.kill()
    run("print('of the third')")
    assert not alive(runner)
    assert (state / "logs" / "run.log").read_text() == "of the third\n"
    assert not (state / "run.lock").exists()


def test_a_stale_lock_file_of_another_machine_blocks_nobody(state: Path, run: Run) -> None:
    state.mkdir()
    (state / "run.lock").write_text('{"pid": 1, "host": "elsewhere", "what": "`curate run`"}')
    run("")


POOL = """
import os, pathlib, sys, time
from curation_pipeline.engine.mapping import map_tasks
from curation_pipeline.engine.settings import EngineSettings
def work(folder):
    pathlib.Path(folder, str(os.getpid())).touch()
    time.sleep(600)
if __name__ == "__main__":
    list(map_tasks(work, [sys.argv[1]] * 2, EngineSettings(workers=2), "step"))
"""


def test_workers_of_a_killed_process_end(tmp_path: Path) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "pool.py"), str(tmp_path / "pids")], env=environment
    ) as parent:
        while len(workers := list((tmp_path / "pids").iterdir())) < 2:
            time.sleep(0.01)
        parent.send_signal(signal.SIGKILL)
    while any(alive(int(worker.name)) for worker in workers):
        time.sleep(0.01)  # the test's own timeout is the bound
