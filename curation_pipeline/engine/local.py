"""Mapping functions over independent tasks on the cores of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from typing import Protocol, TypeVar

from curation_pipeline.processes import end_with_spawner

Task = TypeVar("Task")
Result = TypeVar("Result")


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


def _begin() -> None:
    """Keep a worker to one thread (two such processes outrun one of two threads on small models), and to our life."""
    os.environ["OMP_NUM_THREADS"] = "1"
    end_with_spawner()


@contextmanager
def process_pool(workers: int) -> Iterator[Map]:
    """A ``Map`` over processes that stay for all its calls, since each takes a second to import what it needs.

    Workers are fresh processes (``spawn``), since a forked process must not use threads that torch has started. Where
    something raises, tasks that have not begun are cancelled.

    Args:
        workers: processes; with one, everything runs in this process.
    """
    if workers <= 1:
        yield serial_map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:

        def run(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
            futures = {pool.submit(function, task): index for index, task in enumerate(tasks)}
            for future in as_completed(futures):
                # What a finished task brought would otherwise stay until the last one ends.
                yield futures.pop(future), future.result()

        try:
            yield run
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def map_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Run ``function`` on every task and yield index and result as each finishes.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        workers: processes; with one, or one task, it runs in this process.

    Raises:
        Exception: whatever the function raised, after cancelling the tasks that have not begun.
    """
    with process_pool(min(workers, len(tasks))) as run:
        yield from run(function, tasks)


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
