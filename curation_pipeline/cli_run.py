"""Running Dagster jobs for the command line: a process of its own, and a bar for each job that it tells of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from curation_pipeline.errors import CurationError
from curation_pipeline.installation import project_environment


def run_dagster(console: Console, arguments: list[str]) -> None:
    """Run `assets.runner` in a process of its own and draw a bar for each job that it tells of.

    It is started by module name: this package is below the assets and does not import them.

    Raises:
        CurationError: it failed; its message, and the file with its whole output.
    """
    log = Path(os.environ["CURATION_STATE"]) / "logs" / f"{arguments[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**project_environment(), "PYTHONWARNINGS": "ignore"}
    columns = (TextColumn("{task.fields[job]:<28}"), BarColumn(24), TaskProgressColumn(), TimeElapsedColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    message = ""
    with Progress(*columns, console=console, refresh_per_second=4) as progress, log.open("w") as errors:
        tasks: dict[str, TaskID] = {}
        process = subprocess.Popen(
            [sys.executable, "-m", "assets.runner", *arguments],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
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
                if said["job"] not in tasks:
                    tasks[said["job"]] = progress.add_task("starting", total=1.0, job=said["job"])
                progress.update(tasks[said["job"]], completed=said["fraction"], description=said["step"])
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.terminate()
            code = process.wait()
    if code:
        raise CurationError(f"{message or f'the process ended with code {code}'}. See {log}")
