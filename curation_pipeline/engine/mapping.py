"""Mapping functions over independent tasks, and running tasks that wait for others, on the workers of an engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from graphlib import TopologicalSorter
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TypeVar

from curation_pipeline.engine.messages import Hear, in_worker
from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.engine.workers import Result, Task, Workers, new_workers, open_workers

Key = TypeVar("Key", bound=Hashable)
AHEAD = 2
"""Tasks begun and not yet taken, for each that can run at a time: memory does not grow with the number of tasks."""


class Map(Protocol):
    """Runs a function on every task and yields index and result as each finishes.

    The function has to be importable by name, with picklable argument and result. What it raises reaches the caller.
    """

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """Run ``function`` on ``tasks``."""


def serial_map(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
    """A ``Map`` in this process, in order."""
    for index, task in enumerate(tasks):
        yield index, function(task)


@contextmanager
def worker_pool(engine: EngineSettings, step: str, tasks: int) -> Iterator[Map]:
    """A ``Map`` over workers that stay for all its calls, since each takes a second to import what it needs.

    Where something raises, tasks that have not begun are cancelled, and the others are ended.

    Args:
        engine: what the workers are of.
        step: what the tasks are for.
        tasks: the most that a call has. With one, or one worker, everything runs in this process.

    Raises:
        WorkerLostError: a worker was killed.
        Exception: whatever the function raised, after ending the workers.
    """
    if in_this_process(engine, step, tasks):
        yield serial_map
        return
    if engine.kind == "local":
        engine = engine.model_copy(update={"workers": min(engine.workers, tasks)})
    with open_workers(engine, step) as workers:

        def run(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
            waiting = iter(enumerate(tasks))
            finished: SimpleQueue[tuple[int, Future[Result]]] = SimpleQueue()

            def begin(most: int) -> int:
                begun = 0
                for index, task in islice(waiting, most):
                    workers.submit(function, task).add_done_callback(partial(_put, finished, index))
                    begun += 1
                return begun

            under_way = begin(AHEAD * workers.slots)
            while under_way:
                index, future = finished.get()
                # Nodes may have joined since.
                under_way += begin(max(AHEAD * workers.slots - under_way, 0) + 1) - 1
                yield index, future.result()

        yield run


def _put(finished: SimpleQueue[tuple[int, Future[Result]]], index: int, future: Future[Result]) -> None:
    finished.put((index, future))


def sharing(engine: EngineSettings, folder: Path, files: Sequence[Path]) -> EngineSettings:
    """The engine for tasks that exchange files in a folder: a cluster whose nodes all see it, else this machine.

    Args:
        engine: the profile's.
        folder: where the tasks write; it exists.
        files: what they read.
    """
    if engine.kind == "ray":
        from curation_pipeline.engine.cluster import connect, share

        connect(engine)
        if not share(folder, files):
            return engine.model_copy(update={"kind": "local"})
    return engine


def in_this_process(engine: EngineSettings, step: str, tasks: int) -> bool:
    """Whether there is nothing to gain from workers: one task, one core, or a worker whose cores have all one."""
    if engine.kind == "ray":
        return tasks <= 1 and step not in engine.requests
    return min(engine.workers, tasks) <= 1 or in_worker()


def map_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], engine: EngineSettings, step: str
) -> Iterator[tuple[int, Result]]:
    """Run ``function`` on every task and yield index and result as each finishes; see `worker_pool`."""
    with worker_pool(engine, step, len(tasks)) as run:
        yield from run(function, tasks)


def in_order(
    function: Callable[[Task], Result], tasks: Sequence[Task], engine: EngineSettings, step: str
) -> Iterator[Result]:
    """Results in the order of the tasks. Processes of this machine stay for all such calls.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        engine: what the workers are of.
        step: what the tasks are for.

    Raises:
        WorkerLostError: a worker was killed.
        Exception: whatever the function raised, after ending the workers.
    """
    if in_this_process(engine, step, len(tasks)):
        yield from map(function, tasks)
        return
    waiting = iter(tasks)
    begun: deque[Future[Result]] = deque()
    with _standing(engine.workers) if engine.kind == "local" else open_workers(engine, step) as workers:
        begun.extend(workers.submit(function, task) for task in islice(waiting, AHEAD * workers.slots))
        while begun:
            result = begun.popleft().result()
            begun.extend(workers.submit(function, task) for task in islice(waiting, 1))
            yield result


@lru_cache(1)
def _of_this_machine(workers: int) -> Workers:
    """Workers that live as long as this process."""
    return new_workers(EngineSettings(workers=workers), "")


@contextmanager
def _standing(number: int) -> Iterator[Workers]:
    workers = _of_this_machine(number)
    try:
        yield workers
    except BaseException:
        _of_this_machine.cache_clear()
        workers.end()
        raise


def run_graph(
    function: Callable[[Task], Result],
    tasks: Mapping[Key, Task],
    before: Mapping[Key, Collection[Key]],
    engine: EngineSettings,
    step: str,
    hear: Hear,
    step_of: Callable[[Key], str] = lambda key: "",
) -> Generator[tuple[Key, Result], None, None]:
    """Run ``function`` on every task when those before it are done, and yield key and result as each finishes.

    Of the tasks that may run, those come first that the longest chain of others waits for. Workers go on whatever the
    caller does between two results.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        before: for each task, the keys of those that must be done before it begins.
        engine: what the workers are of.
        step: what the tasks are for.
        hear: gets what the tasks `say`.
        step_of: what the task of a key is for, where it is for something else than the others.

    Raises:
        WorkerLostError: a worker was killed.
        Exception: whatever the function raised, after ending the workers.
    """
    waiting = {key: set(before[key]) for key in tasks}
    followers = dict.fromkeys(tasks, 0)
    """Tasks of the longest chain that waits for a task."""
    for key in reversed(list(TopologicalSorter(waiting).static_order())):
        for other in waiting[key]:
            followers[other] = max(followers[other], followers[key] + 1)
    finished: SimpleQueue[tuple[Key, Future[Result]]] = SimpleQueue()
    lock = threading.Lock()
    running = 0

    def begin(workers: Workers, done: Key | None = None) -> None:
        """Begin what may run now; called again by a thread of the workers when a task is done."""
        nonlocal running
        with lock:
            if done is not None:
                running -= 1
                for left in waiting.values():
                    left.discard(done)
            ready = sorted((key for key, left in waiting.items() if not left), key=lambda key: -followers[key])
            chosen = ready[: max(workers.slots - running, 0)]
            running += len(chosen)
            for key in chosen:
                del waiting[key]
        for key in chosen:
            workers.submit(function, tasks[key], step_of(key)).add_done_callback(partial(end, workers, key))

    def end(workers: Workers, key: Key, future: Future[Result]) -> None:
        finished.put((key, future))
        if not future.cancelled() and future.exception() is None:
            begin(workers, key)

    with open_workers(engine, step, hear) as workers:
        try:
            begin(workers)
            for _ in tasks:
                key, future = finished.get()
                yield key, future.result()
        finally:
            with lock:
                waiting.clear()  # where the caller goes, nothing more is begun


def prefetch(items: Iterator[Result]) -> Iterator[Result]:
    """The same items, each made in a thread while the caller works on the one before.

    It pays where both are work outside of the interpreter, such as reading, decoding and writing tables.

    Raises:
        Exception: whatever making an item raised.
    """

    def one() -> list[Result]:
        return list(islice(items, 1))

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(one)
        while found := following.result():
            following = thread.submit(one)
            yield from found
