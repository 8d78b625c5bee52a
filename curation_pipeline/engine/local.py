"""Mapping functions over independent tasks, and running tasks that wait for others, on the cores of this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial
from graphlib import TopologicalSorter
from itertools import islice
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from curation_pipeline.errors import WorkerLostError
from curation_pipeline.processes import end_with_spawner

Key = TypeVar("Key", bound=Hashable)
Task = TypeVar("Task")
Result = TypeVar("Result")
Hear = Callable[[Any], None]
"""Called, in a thread of its own, with what a worker says."""


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
def process_pool(workers: int) -> Iterator[Map]:
    """A ``Map`` over processes that stay for all its calls, since each takes a second to import what it needs.

    Where something raises, tasks that have not begun are cancelled, and the others are ended.

    Args:
        workers: processes; with one, everything runs in this process.
    """
    if workers <= 1:
        yield serial_map
        return
    with _workers(workers) as pool:

        def run(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
            futures = {pool.submit(function, task): index for index, task in enumerate(tasks)}
            for future in as_completed(futures):
                # What a finished task brought would otherwise stay until the last one ends.
                yield futures.pop(future), future.result()

        yield run


def map_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Run ``function`` on every task and yield index and result as each finishes.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        workers: processes; with one, or one task, it runs in this process.

    Raises:
        WorkerLostError: a worker was killed.
        Exception: whatever the function raised, after ending the workers.
    """
    with process_pool(min(workers, len(tasks))) as run:
        yield from run(function, tasks)


def run_graph(
    function: Callable[[Task], Result],
    tasks: Mapping[Key, Task],
    before: Mapping[Key, Collection[Key]],
    workers: int,
    hear: Hear,
) -> Generator[tuple[Key, Result], None, None]:
    """Run ``function`` on every task when those before it are done, and yield key and result as each finishes.

    Of the tasks that may run, those come first that the longest chain of others waits for. Workers go on whatever the
    caller does between two results.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        before: for each task, the keys of those that must be done before it begins.
        workers: processes.
        hear: gets what the tasks `say`.

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
    free = workers

    def begin(pool: _Workers, done: Key | None = None) -> None:
        """Begin what may run now; called again by a thread of the pool when a task is done."""
        nonlocal free
        with lock:
            if done is not None:
                free += 1
                for left in waiting.values():
                    left.discard(done)
            ready = sorted((key for key, left in waiting.items() if not left), key=lambda key: -followers[key])
            chosen = ready[:free]
            free -= len(chosen)
            for key in chosen:
                del waiting[key]
        for key in chosen:
            pool.submit(function, tasks[key]).add_done_callback(partial(end, pool, key))

    def end(pool: _Workers, key: Key, future: Future[Result]) -> None:
        try:
            if not future.cancelled() and future.exception() is None:
                begin(pool, key)
        except BrokenProcessPool as error:  # a worker was lost after this task: nobody else would tell of it
            future = Future()
            future.set_exception(error)
        finished.put((key, future))

    with _workers(workers, hear) as pool:
        try:
            begin(pool)
            for _ in tasks:
                key, future = finished.get()
                yield key, future.result()
        finally:
            with lock:
                waiting.clear()  # where the caller goes, nothing more is begun


def in_order(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Results in the order of the tasks, made by processes that stay for all such calls of this process.

    At most twice as many tasks as there are workers are begun and not yet taken, so memory does not grow with them.

    Args:
        function: importable by name, with picklable argument and result.
        tasks: what to run it on.
        workers: processes; with one, with one task, or in a worker, everything runs in this process.

    Raises:
        WorkerLostError: a worker was killed.
        Exception: whatever the function raised, after ending the workers.
    """
    if min(workers, len(tasks)) <= 1 or in_worker():
        yield from map(function, tasks)
        return
    waiting = iter(tasks)
    begun: deque[Future[Result]] = deque()
    pool = _standing(workers)
    try:
        with _ended_if_it_fails(pool):
            begun.extend(pool.submit(function, task) for task in islice(waiting, 2 * workers))
            while begun:
                result = begun.popleft().result()
                begun.extend(pool.submit(function, task) for task in islice(waiting, 1))
                yield result
    except BaseException:
        _standing.cache_clear()
        raise


def in_worker() -> bool:
    """Whether this process is a worker. The other cores have workers of their own, so it starts no others."""
    return _messages is not None


def say(message: object) -> None:
    """Tell the process that started this worker something picklable, other than None; `run_graph` hears it."""
    if _messages is not None:
        _messages.put(message)


_messages: Any = None
"""Where a worker puts what it has to say."""


class _Said(logging.Handler):
    """Hands what a worker warns of to the process that started it, which knows where it is to be written."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        say((record.name, record.levelno, record.getMessage()))


def _begin(messages: Any) -> None:
    """Keep a worker to one thread (two such processes outrun one of two threads on small models), and to our life."""
    global _messages
    _messages = messages
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts the whole group, and who started us ends us
    end_with_spawner()
    logging.getLogger("curation_pipeline").addHandler(_Said(logging.WARNING))


class _Workers:
    """Fresh processes (``spawn``), since a forked one must not use threads that torch or Polars has started."""

    def __init__(self, workers: int, hear: Hear | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._hear = hear
        self._messages = context.Queue()
        self._relaying = threading.Thread(target=self._relay, daemon=True)
        self._relaying.start()
        self._others = set(multiprocessing.active_children())
        self._pool = ProcessPoolExecutor(workers, context, _begin, (self._messages,))

    def submit(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        """Begin a task as soon as a worker is free."""
        return self._pool.submit(function, task)

    def close(self) -> None:
        """End the workers when they have done what was begun."""
        self._pool.shutdown()
        self._messages.put(None)
        self._relaying.join()

    def end(self) -> None:
        """End the workers at once."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - self._others:
            child.terminate()
        self.close()

    def _relay(self) -> None:
        while (message := self._messages.get()) is not None:
            match message:
                case (str(name), int(level), str(text)):
                    logging.getLogger(name).log(level, "%s", text)
                case _ if self._hear is not None:
                    self._hear(message)


@contextmanager
def _workers(workers: int, hear: Hear | None = None) -> Iterator[_Workers]:
    pool = _Workers(workers, hear)
    with _ended_if_it_fails(pool):
        yield pool
    pool.close()


@contextmanager
def _ended_if_it_fails(pool: _Workers) -> Iterator[None]:
    """End the workers where the body fails or is interrupted; that one was killed is one clear error."""
    try:
        yield
    except BrokenProcessPool as error:
        pool.end()
        raise WorkerLostError(
            "a worker process was killed from outside (where nobody did it, the machine ran out of memory): free "
            "memory, or give loop.workers of the profile a smaller number, and run again; finished work is kept"
        ) from error
    except BaseException:
        pool.end()
        raise


@lru_cache(1)
def _standing(workers: int) -> _Workers:
    """Workers that live as long as this process."""
    return _Workers(workers)


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
