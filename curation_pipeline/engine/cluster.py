"""Processes of a Ray cluster: the same functions as tasks, or as calls of actors that keep a model loaded.

Ray core rather than Ray Data: a task that is lost with its node is begun again, whatever it was doing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curation_pipeline.engine.messages import Hear, be_worker, heard, in_worker
from curation_pipeline.engine.settings import EngineSettings, TaskRequest
from curation_pipeline.engine.workers import Result, Task
from curation_pipeline.errors import ConfigError, WorkerLostError
from curation_pipeline.extras import extra

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
with extra("ray", 'engine.kind = "ray"'):
    import ray
    from ray.exceptions import RayError, RaySystemError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PACKAGE = "curation-pipeline"
POLL_SECONDS = 0.2
"""How often what the tasks said is fetched."""
CONNECT_SECONDS = 30.0
CHECK_SECONDS = 120.0
"""What a node has to answer at the start, with a fresh process that imports this package."""
_OTHER_VERSION = "node {node} has curation-pipeline {theirs}, this machine has {ours}: install the same on every node"


dashboard = ""
"""Address of the dashboard of the cluster that this process is connected to; empty where it has none."""


def connect(engine: EngineSettings) -> None:
    """Connect this process to the cluster, once.

    Raises:
        ConfigError: it cannot be reached, or a node has another version of this package.
    """
    global dashboard
    if not ray.is_initialized():
        address = engine.address or os.environ.get("RAY_ADDRESS") or "local"
        try:
            _knock(address)
            context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, RaySystemError) as error:
            raise ConfigError(
                f"no Ray cluster answers at {address!r} ({str(error).partition(chr(10))[0]}): start one with "
                "`ray start --head`, correct engine.address of the profile or $RAY_ADDRESS, or leave both out"
            ) from error
        dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else ""
        _check_versions()


def on_every_node(function: Callable[[Task], Result], task: Task) -> dict[str, Result]:
    """What a function gives on each node, by the node's address and id.

    Raises:
        ConfigError: a node does not answer.
    """
    found: dict[str, Result] = {}
    asked = {}
    for node in _nodes():
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[node["NodeID"]] = _task(TaskRequest(cpus=0.0), 0, scheduling_strategy=there).remote(None, function, task)
    for node in _nodes():
        if (ref := asked.get(node["NodeID"])) is None:
            continue
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        try:
            found[name] = ray.get(ref, timeout=CHECK_SECONDS)
        except RayError as error:
            if node["NodeID"] not in {alive["NodeID"] for alive in _nodes()}:
                continue  # lost meanwhile
            reason = str(error).strip().rpartition("\n")[2]
            raise ConfigError(f"node {name} of the Ray cluster cannot run this project's tasks: {reason}") from error
    return found


def share(folder: Path, files: Sequence[Path]) -> bool:
    """Whether every node sees the same folder and these files at the same paths."""
    token = folder / f".seen-{uuid.uuid4().hex}"
    token.touch()
    try:
        return all(on_every_node(_are_files, (token, *files)).values())
    finally:
        token.unlink()


class RayWorkers:
    """Tasks of one step on the cluster that this process is connected to."""

    def __init__(self, engine: EngineSettings, step: str, hear: Hear | None = None) -> None:
        """Connect where this process is not yet; actors are started at once, and wait for their resources.

        Args:
            engine: address, retries, and what tasks of each step get.
            step: what the tasks are for.
            hear: gets what the tasks `say`.

        Raises:
            ConfigError: see `connect`.
        """
        connect(engine)
        self._engine, self._step, self._hear = engine, step, hear
        self._request = engine.request(step)
        self._under_way: dict[Any, Future[Any]] = {}
        self._lock = threading.Lock()
        self._messages = None if in_worker() else _mailbox()
        self._closed = threading.Event()
        self._relaying = threading.Thread(target=self._relay, daemon=True)
        self._relaying.start()
        # Tasks of tasks tell through the same mailbox as the task that began them.
        self._tell_by = _told_by if in_worker() else self._messages
        self._task = _task(self._request, engine.retries)
        self._actors = _actors(self._request, engine.retries)
        self._idle = deque(self._actors)
        self._waiting: deque[tuple[Callable[[Any], Any], Any, _Reference]] = deque()

    @property
    def slots(self) -> int:
        """See `Workers.slots`: the actors, or the CPUs of the nodes that are alive by what a task takes of them."""
        if self._actors:
            return len(self._actors)
        alive = ray.cluster_resources()
        wanted = {"CPU": self._request.cpus, "GPU": self._request.gpus}
        places = [int(alive.get(name, 0) / amount) for name, amount in wanted.items() if amount]
        return max(min(places, default=int(alive.get("CPU", 0))), 1)

    def submit(self, function: Callable[[Task], Result], task: Task, step: str = "") -> Future[Result]:
        """See `Workers.submit`."""
        future: _Reference = _Reference()
        if step and not self._actors:
            remote = _task(self._engine.request(step), self._engine.retries)
            self._begin(function, task, future, None, remote)
            return future
        with self._lock:
            actor = self._idle.popleft() if self._idle else None
            if self._actors and actor is None:
                self._waiting.append((function, task, future))
                return future
        self._begin(function, task, future, actor, self._task if actor is None else actor.run)
        return future

    def close(self) -> None:
        """See `Workers.close`."""
        for future in list(self._under_way.values()):
            future.exception()
        self._end_relay()

    def end(self) -> None:
        """See `Workers.end`."""
        with self._lock:
            self._waiting.clear()
            refs = list(self._under_way)
        for ref in refs:
            # A call of an actor cannot be forced to end; its actor can.
            if not self._actors:
                ray.cancel(ref, force=True, recursive=True)
        self._end_relay()

    def _begin(
        self, function: Callable[[Task], Result], task: Task, future: _Reference, actor: Any, remote: Any
    ) -> None:
        ref = remote.remote(self._tell_by, function, task)
        future.ref = ref
        with self._lock:
            self._under_way[ref] = future

        def done(told: Future[Result]) -> None:
            with self._lock:
                self._under_way.pop(ref, None)
            if actor is not None:
                self._next(actor)
            error = told.exception()
            if error is None:
                future.set_result(told.result())
            else:
                future.set_exception(self._cause(error))

        ref.future().add_done_callback(done)

    def _next(self, actor: Any) -> None:
        """Give a free actor what has waited longest."""
        with self._lock:
            waiting = self._waiting.popleft() if self._waiting else None
            if waiting is None:
                self._idle.append(actor)
        if waiting is not None:
            self._begin(*waiting, actor, actor.run)

    def _cause(self, error: BaseException) -> BaseException:
        """What the function raised, or that its process was lost more often than it is begun again."""
        if isinstance(error, RayTaskError):
            return error.cause if isinstance(error.cause, BaseException) else error
        if not isinstance(error, RayError):
            return error
        lost = WorkerLostError(
            f"a task of {self._step} was lost {self._engine.retries + 1} times on the Ray cluster "
            f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}): where no node failed, its process "
            f"ran out of memory: give engine.requests.{self._step}.memory_gb of the profile what it needs, and run "
            "again; finished work is kept"
        )
        lost.__cause__ = error
        return lost

    def _relay(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            self._fetch()

    def _fetch(self) -> None:
        if self._messages is not None:
            for message in ray.get(self._messages.take.remote()):
                heard(message, self._hear)

    def _end_relay(self) -> None:
        self._closed.set()
        self._relaying.join()
        self._fetch()
        if self._messages is not None:
            ray.kill(self._messages)
        for actor in self._actors:
            ray.kill(actor)


class _Reference(Future[Any]):
    """A future whose caller gives its CPU to other tasks while it waits.

    A task that waits for its own tasks would otherwise keep them from running.
    """

    ref: Any = None

    def result(self, timeout: float | None = None) -> Any:
        while not self.done():
            if self.ref is None:  # it waits for an actor
                wait([self], POLL_SECONDS)
            else:
                ray.wait([self.ref], timeout=timeout, fetch_local=False)
                break
        return super().result(timeout)


def _knock(address: str) -> None:
    """Find out at once whether somebody listens there: Ray tries for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _check_versions() -> None:
    ours = version(PACKAGE)
    for node, theirs in on_every_node(_version, None).items():
        if theirs != ours:
            ray.shutdown()
            raise ConfigError(_OTHER_VERSION.format(node=node, theirs=theirs, ours=ours))


def _version(_: None) -> str:
    return version(PACKAGE)


def _are_files(paths: tuple[Path, ...]) -> bool:
    return all(path.is_file() for path in paths)


_told_by: Any = None
"""Mailbox of the task that this process runs."""


def _run(mailbox: Any, function: Callable[[Task], Result], task: Task) -> Result:
    """Run a task in a worker, with what it says going to the driver."""
    global _told_by
    _told_by = mailbox
    be_worker(lambda message: None if mailbox is None else mailbox.put.remote(message))
    return function(task)


def _resources(request: TaskRequest) -> dict[str, Any]:
    memory = {} if request.memory_gb is None else {"memory": int(request.memory_gb * 1e9)}
    return {"num_cpus": request.cpus, "num_gpus": request.gpus, **memory}


_TASK = ray.remote(_run)


def _task(request: TaskRequest, retries: int, **options: Any) -> Any:
    return _TASK.options(max_retries=retries, **_resources(request), **options)


class _Actor:
    """A process that stays, with what it has loaded."""

    def run(self, mailbox: Any, function: Callable[[Task], Result], task: Task) -> Result:
        return _run(mailbox, function, task)


def _actors(request: TaskRequest, retries: int) -> list[Any]:
    kind = ray.remote(max_restarts=-1, max_task_retries=retries, **_resources(request))(_Actor)
    return [kind.remote() for _ in range(request.actors or 0)]


class _Mailbox:
    """What tasks have said and nobody has fetched yet."""

    def __init__(self) -> None:
        self._messages: list[object] = []

    def put(self, message: object) -> None:
        self._messages.append(message)

    def take(self) -> list[object]:
        messages, self._messages = self._messages, []
        return messages


def _mailbox() -> Any:
    """A mailbox on this node, which lives as long as the process that it is for."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()
