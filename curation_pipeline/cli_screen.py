"""What the command line writes on: a console that shows the data's text as it is, and the progress of a run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleRenderable, RichCast
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from curation_pipeline.escaping import visible

Tell = Callable[[str, str, float], None]
"""Takes a job's name, what it does now, and how much of it is done, in [0, 1]."""

FILE_WIDTH = 160
"""Columns of what is written into a file or a pipe."""

LINE_SECONDS = 5.0
"""Least time between two lines of a job's progress, where the output is no terminal."""


class Screen(Console):
    """A console that takes no text for markup and lets no character of it steer the terminal.

    Styles are given as arguments (``style=``) or as :class:`rich.text.Text`, never inside a text.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; what is neither text nor something that Rich draws is shown as its text."""
        drawn = (str, ConsoleRenderable, RichCast)
        for column in (column for entry in objects if isinstance(entry, Table) for column in entry.columns):
            column.overflow = "fold"  # a name or an id that is cut may be another's
        super().print(*(entry if isinstance(entry, drawn) else str(entry) for entry in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A text as Rich draws it: every cell, title and line passes here."""
        return super().render_str(visible(text, lines=True), **options | {"markup": False, "emoji": False})


def screen(stderr: bool = False) -> Screen:
    """A console on standard output, or on standard error; a file gets lines wide enough for ids to stay whole."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    return Screen(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def progress_of(console: Console) -> Iterator[Tell]:
    """Shows how far jobs are: bars on a terminal, and elsewhere a line when a step begins."""
    if console.is_terminal:
        with _bars(console) as tell:
            yield tell
    else:
        yield _lines(console)


@contextmanager
def _bars(console: Console) -> Iterator[Tell]:
    columns = (TextColumn("{task.fields[job]:<28}", markup=False), BarColumn(24), TaskProgressColumn(),
               TimeElapsedColumn(), TextColumn("{task.description}", markup=False))  # fmt: skip
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, refresh_per_second=4) as progress:

        def tell(job: str, step: str, fraction: float) -> None:
            if job not in tasks:
                tasks[job] = progress.add_task("starting", total=1.0, job=visible(job))
            progress.update(tasks[job], completed=fraction, description=visible(step))

        yield tell


def _lines(console: Console) -> Tell:
    begun: dict[str, float] = {}
    shown: dict[str, tuple[float, str]] = {}

    def tell(job: str, step: str, fraction: float) -> None:
        now = time.monotonic()
        start = begun.setdefault(job, now)
        last, before = shown.get(job, (-LINE_SECONDS, ""))
        if fraction < 1 and (step == before or now - last < LINE_SECONDS) and job in shown:
            return
        shown[job] = now, step
        elapsed = now - start
        left = f", about {_clock(elapsed * (1 - fraction) / fraction)} left" if 0.02 < fraction < 1 else ""
        console.print(f"{_clock(elapsed):>7} {fraction:>4.0%}  {job}: {step}{left}", soft_wrap=True)

    return tell


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
