"""What tasks run on, whether the processes are of this machine or of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol, TypeVar

from curation_pipeline.engine.messages import Hear
from curation_pipeline.engine.settings import EngineSettings

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers(Protocol):
    """Processes that take tasks. A lost one is a `WorkerLostError`, from here or from a future."""

    @property
    def slots(self) -> int:
        """How many tasks can run at a time, now."""
        ...

    def submit(self, function: Callable[[Task], Result], task: Task, step: str = "") -> Future[Result]:
        """Begin a task as soon as there is a place for it.

        Args:
            function: importable by name, with picklable argument and result.
            task: its argument.
            step: what the task is for, where it is for something else than the others.
        """
        ...

    def close(self) -> None:
        """End when all that was begun is done."""
        ...

    def end(self) -> None:
        """End at once, and everything that is under way."""
        ...


@contextmanager
def open_workers(engine: EngineSettings, step: str, hear: Hear | None = None) -> Iterator[Workers]:
    """The workers of an engine; where the body fails, they and what they do are ended.

    Args:
        engine: which, and how many.
        step: what the tasks are for; on a cluster it decides what each gets.
        hear: gets what the tasks `say`.

    Raises:
        ConfigError: the cluster cannot be reached, or a node of it is not fit.
    """
    workers = new_workers(engine, step, hear)
    try:
        yield workers
    except BaseException:
        workers.end()
        raise
    workers.close()


def dashboard(engine: EngineSettings) -> str:
    """Address of the dashboard of the cluster that this process has used; empty where there is none."""
    if engine.kind == "local":
        return ""
    from curation_pipeline.engine import cluster

    return cluster.dashboard


def new_workers(engine: EngineSettings, step: str, hear: Hear | None = None) -> Workers:
    """See `open_workers`; for a caller that ends them itself."""
    if engine.kind == "ray":
        from curation_pipeline.engine.cluster import RayWorkers

        return RayWorkers(engine, step, hear)
    from curation_pipeline.engine.local import LocalWorkers

    return LocalWorkers(engine.workers, hear)
