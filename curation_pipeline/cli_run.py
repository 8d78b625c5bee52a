"""Running Dagster jobs for the command line, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from curation_pipeline.cli_screen import progress_of
from curation_pipeline.errors import CurationError

PROJECT_ROOT = Path(__file__).parents[1]
"""The checkout's folder."""


def run_dagster(console: Console, arguments: list[str]) -> None:
    """Run `assets.runner` in a process of its own and show how far each of its jobs is.

    It is started by module name: this package is below the assets and does not import them.

    Raises:
        CurationError: it failed; its message, and the file with its whole output.
    """
    log = Path(os.environ["CURATION_STATE"]) / "logs" / f"{arguments[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONWARNINGS": "ignore"}
    message = ""
    with progress_of(console) as tell, log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "assets.runner", *arguments],
            stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT_ROOT, env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                try:
                    said = json.loads(line)
                except ValueError:  # a library that prints
                    continue
                if "error" in said:
                    message = said["error"]
                    continue
                if "note" in said:
                    console.print(said["note"], soft_wrap=True)
                    continue
                tell(said["job"], said["step"], said["fraction"])
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.terminate()
            code = process.wait()
    if code:
        raise CurationError(f"{message or f'the process ended with code {code}'}. See {log}")
