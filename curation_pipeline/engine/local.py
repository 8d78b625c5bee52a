"""Mapping a function over independent tasks on the cores of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def _one_thread() -> None:
    """Keep each worker to one thread: two one-thread processes outrun one of two threads on small models."""
    os.environ["OMP_NUM_THREADS"] = "1"


def map_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Run ``function`` on every task and yield index and result as each finishes.

    Workers are fresh processes (``spawn``), since a forked process must not use threads that torch has started.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        workers: processes; with one, or one task, it runs in this process.

    Raises:
        Exception: whatever the function raised, after cancelling the tasks that have not begun.
    """
    if workers <= 1 or len(tasks) <= 1:
        for index, task in enumerate(tasks):
            yield index, function(task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(function, task): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
