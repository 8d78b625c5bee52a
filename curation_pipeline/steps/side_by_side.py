"""Steps made side by side: each in a worker process as soon as what it reads is there.

It makes artefacts only; whoever shows and records them finds them finished.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from curation_pipeline.engine.mapping import run_graph
from curation_pipeline.engine.messages import say
from curation_pipeline.stages.arms import Cell
from curation_pipeline.stages.context import Context
from curation_pipeline.steps.registry import ANNOTATIONS, read_by, step_of
from curation_pipeline.steps.step import Partitioning, Place, Step, of_corpus

SAY_EVERY_SECONDS = 0.3
GRAPH = "artefact"
"""What a task that makes an artefact of an annotator is called in ``engine.requests``."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """What is made: a step's name, and the key of a raw partition or a cell; None for a step of the whole project."""

    step: str
    key: str | None

    def __str__(self) -> str:
        return self.step if self.key is None else f"{self.step} of {self.key}"


@dataclass(frozen=True, slots=True)
class Made:
    """An artefact that is there, and the processor seconds that went into it; next to none where it was there."""

    artefact: Artefact
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """An artefact that could not be made, and why."""

    artefact: Artefact
    reason: str


def graph_of(chosen: Sequence[Step], keys: Sequence[str]) -> dict[Artefact, list[Artefact]]:
    """The artefacts of steps of the corpus and of the whole project, each with those that it is made from.

    Args:
        chosen: the steps; what else they read has been made before.
        keys: the raw partitions.
    """
    places: dict[str, list[str | None]] = {
        step.name: [*keys] if step.partitioning is Partitioning.CORPUS else [None] for step in chosen
    }
    before: dict[Artefact, list[Artefact]] = {}
    for step in chosen:
        reads = [read for read in read_by(step) if read.name in places]
        for key in places[step.name]:
            before[Artefact(step.name, key)] = [
                Artefact(read.name, other)
                for read in reads
                for other in places[read.name]
                if key is None or other is None or other == key
            ]
    return before


def make_side_by_side(
    ctx: Context, before: Mapping[Artefact, Collection[Artefact]]
) -> Generator[Made | Failure, None, None]:
    """Make artefacts on the profile's engine, and yield each as it is there.

    Args:
        ctx: the surroundings. Progress is told as the share of all artefacts.
        before: what is to be made, each with those of them that it is made from.

    Yields:
        What has been made. A failure is the last: everything that was under way is ended then.

    Raises:
        WorkerLostError: a worker was killed.
    """
    parts: dict[Artefact, float] = {}

    def hear(message: tuple[Artefact, str, float]) -> None:
        artefact, what, fraction = message
        if parts.get(artefact) != 1.0:
            parts[artefact] = min(fraction, 0.99)
        ctx.progress(f"{artefact.key or artefact.step}: {what}", sum(parts.values()) / len(before))

    tasks = {artefact: artefact for artefact in before}
    with closing(run_graph(partial(_make, ctx), tasks, before, ctx.profile.engine, GRAPH, hear, _request_of)) as made:
        for artefact, outcome in made:
            if isinstance(outcome, str):
                yield Failure(artefact, outcome)
                return
            parts[artefact] = 1.0
            ctx.progress(artefact.step, sum(parts.values()) / len(before))
            yield Made(artefact, outcome)


def _request_of(artefact: Artefact) -> str:
    """The name in ``engine.requests`` of a task that makes an artefact: an annotator's is that of its own tasks."""
    return "" if step_of(artefact.step).group == ANNOTATIONS else artefact.step


def _make(ctx: Context, artefact: Artefact) -> float | str:
    """Make an artefact in a worker: processor seconds; or why not, as an exception may not survive the way back."""
    last, started = 0.0, time.process_time()

    def report(what: str, fraction: float) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= SAY_EVERY_SECONDS:
            last = now
            say((artefact, what, fraction))

    try:
        step = step_of(artefact.step)
        step.make(ctx.with_progress(report), _place(step, artefact.key))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return time.process_time() - started


def _place(step: Step, key: str | None) -> Place:
    if key is None:
        return Place()
    return Place(Cell.parse(key).partition) if step.partitioning is Partitioning.RUN else of_corpus(key)
