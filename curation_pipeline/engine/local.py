"""Processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from curation_pipeline.engine.messages import Hear, be_worker, heard
from curation_pipeline.engine.workers import Result, Task
from curation_pipeline.errors import WorkerLostError
from curation_pipeline.processes import end_with_spawner


class LocalWorkers:
    """Fresh processes (``spawn``), since a forked one must not use threads that torch or Polars has started."""

    def __init__(self, workers: int, hear: Hear | None = None) -> None:
        """Nothing is started before the first task.

        Args:
            workers: how many processes.
            hear: gets what the tasks `say`.
        """
        context = multiprocessing.get_context("spawn")
        self.slots = workers
        self._hear = hear
        self._messages = context.Queue()
        self._relaying = threading.Thread(target=self._relay, daemon=True)
        self._relaying.start()
        self._others = set(multiprocessing.active_children())
        self._pool = ProcessPoolExecutor(workers, context, _begin, (self._messages,))

    def submit(self, function: Callable[[Task], Result], task: Task, step: str = "") -> Future[Result]:
        """See `Workers.submit`."""
        told: Future[Result] = Future()
        try:
            self._pool.submit(function, task).add_done_callback(lambda done: _pass_on(done, told))
        except BrokenProcessPool as error:
            told.set_exception(_lost(error))
        return told

    def close(self) -> None:
        """See `Workers.close`."""
        self._pool.shutdown()
        self._messages.put(None)
        self._relaying.join()

    def end(self) -> None:
        """See `Workers.end`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - self._others:
            child.terminate()
        self.close()

    def _relay(self) -> None:
        while (message := self._messages.get()) is not None:
            heard(message, self._hear)


def _begin(messages: Any) -> None:
    """Keep a worker to one thread (two such processes outrun one of two threads on small models), and to our life."""
    be_worker(messages.put)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts the whole group, and who started us ends us
    end_with_spawner()


def _pass_on(done: Future[Result], told: Future[Result]) -> None:
    if done.cancelled():
        told.cancel()
        return
    error = done.exception()
    if isinstance(error, BrokenProcessPool):
        error = _lost(error)
    if error is not None:
        told.set_exception(error)
    else:
        told.set_result(done.result())


def _lost(error: BrokenProcessPool) -> WorkerLostError:
    lost = WorkerLostError(
        "a worker process was killed from outside (where nobody did it, the machine ran out of memory): free memory, "
        "or give engine.workers of the profile a smaller number, and run again; finished work is kept"
    )
    lost.__cause__ = error
    return lost
