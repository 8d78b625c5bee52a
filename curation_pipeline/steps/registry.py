"""Every step there is: the modules of this package's folders, and annotators of other people's packages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path

from curation_pipeline.config import Profile
from curation_pipeline.errors import ConfigError
from curation_pipeline.steps.step import Partitioning, Step, StepGroup

PLUGINS = "curation_pipeline.annotators"
"""The entry points of annotators: each names an object that `annotator.annotator` made."""
ANNOTATIONS = "annotations"


@cache
def steps() -> dict[str, Step]:
    """Every step by name, each after those that it reads.

    Raises:
        ConfigError: two steps have one name, or a plug-in cannot be loaded.
    """
    found: dict[str, Step] = {}
    for step in (*_built_in(), *_plugged_in()):
        if step.name in found:
            raise ConfigError(f"two steps are called {step.name!r}: {found[step.name].module} and {step.module}")
        found[step.name] = step
    graph = {name: [read.name for read in _read(step, found.values())] for name, step in found.items()}
    return {name: found[name] for name in TopologicalSorter(graph).static_order()}


def step_of(name: str) -> Step:
    """The step of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in steps():
        raise ConfigError(f"no step {name!r}; there are {', '.join(sorted(steps()))}")
    return steps()[name]


def check_names(profile: Profile) -> None:
    """Look at the settings that a profile gives to steps by their names.

    Raises:
        ConfigError: there is no such step.
    """
    own = {"artefact"}  # see `side_by_side`
    for section, names in (
        ("annotate.annotator_options", profile.annotate.annotator_options),
        ("engine.requests", profile.engine.requests),
    ):
        for name in set(names) - steps().keys() - own:
            raise ConfigError(f"{section}.{name}: no step {name!r}; there are {', '.join(sorted(steps()))}")


def read_by(step: Step) -> tuple[Step, ...]:
    """The steps that a step reads, each once, as the graph shows them."""
    return tuple(_read(step, steps().values()))


def annotation_steps() -> tuple[Step, ...]:
    """The annotations that every raw partition has before an iteration may use it, each after those that it reads."""
    return tuple(step for step in steps().values() if step.group == ANNOTATIONS)


def maker_of(table: str) -> Step | None:
    """The step that makes a table; None for a table that no box of its own makes."""
    return next((step for step in steps().values() if step.table == table), None)


def frozen() -> tuple[Step, ...]:
    """What a gate freezes besides the corpus: the steps of the whole project that those of an iteration read."""
    reading = [step for step in steps().values() if step.partitioning is Partitioning.ITERATION]
    wanted = {read.name for step in reading for read in read_by(step) if read.partitioning is Partitioning.WHOLE}
    return tuple(step for step in steps().values() if step.name in wanted)


def phases(chosen: Iterable[Step]) -> list[tuple[Step, ...]]:
    """The order in which a runner makes steps: each phase is of one partitioning and needs the phases before it only.

    A phase holds as much as it can, so that the partitions of the corpus are gone through as seldom as possible.
    """
    waiting = {step.name: step for step in steps().values() if step in set(chosen)}
    found: list[tuple[Step, ...]] = []
    kind = Partitioning.WHOLE
    while waiting:
        ready: list[Step] = []
        for step in waiting.values():  # in order: what a step reads comes before it
            before = {read.name for read in read_by(step)} & waiting.keys() - {other.name for other in ready}
            if step.partitioning is kind and not before:
                ready.append(step)
        if ready:
            found.append(tuple(ready))
        for step in ready:
            del waiting[step.name]
        kind = Partitioning.CORPUS if kind is Partitioning.WHOLE else Partitioning.WHOLE
    return found


def _read(step: Step, every: Iterable[Step]) -> Iterator[Step]:
    seen: set[str] = set()
    for entry in step.edges:
        members = [other for other in every if other.group == entry.name] if isinstance(entry, StepGroup) else [entry]
        for other in members:
            if other.name not in seen:
                seen.add(other.name)
                yield other


def _built_in() -> Iterator[Step]:
    folder = Path(__file__).parent
    package = __name__.rpartition(".")[0]
    for group in sorted(path.name for path in folder.iterdir() if (path / "__init__.py").is_file()):
        for module in pkgutil.iter_modules([str(folder / group)]):
            step = getattr(importlib.import_module(f"{package}.{group}.{module.name}"), "STEP", None)
            if isinstance(step, Step):
                yield step


def _plugged_in() -> Iterator[Step]:
    for point in entry_points(group=PLUGINS):
        where = f"the annotator {point.name!r} of {point.dist.name if point.dist else point.value}"
        try:
            step = point.load()
        except Exception as error:  # whatever a package of somebody else comes up with
            raise ConfigError(f"{where} cannot be loaded ({error}): correct or uninstall that package") from error
        if not isinstance(step, Step) or step.name != point.name or step.group != ANNOTATIONS:
            raise ConfigError(f"{where} is no annotator of that name: make it by curation_pipeline.steps.annotator")
        yield step
