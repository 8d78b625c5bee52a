"""Work on several processes: in order, after what it waits for, and with one clear error where a worker is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curation_pipeline.engine.mapping import in_order, map_tasks, run_graph
from curation_pipeline.engine.messages import say
from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.errors import WorkerLostError

TWO = EngineSettings(workers=2)


def made(task: tuple[Path, str, tuple[str, ...]]) -> bool:
    """Leave a file, and say whether those of the tasks before were there."""
    folder, name, before = task
    there = all((folder / other).exists() for other in before)
    (folder / name).touch()
    say(f"{name} is done")
    return there


def later_first(task: int) -> tuple[int, int]:
    time.sleep(0.02 * (5 - task))
    return task, os.getpid()


def dies(task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails_or_waits(task: int) -> None:
    if task == 0:
        raise ValueError("broken")
    time.sleep(3_600)  # the test's own timeout is the bound


def graph(function: Callable[[int], None], tasks: list[int], engine: EngineSettings) -> None:
    list(run_graph(function, dict(enumerate(tasks)), {place: () for place in range(len(tasks))}, engine, "step", print))


def ordered(function: Callable[[int], None], tasks: list[int], engine: EngineSettings) -> None:
    list(in_order(function, tasks, engine, "step"))


def mapped(function: Callable[[int], None], tasks: list[int], engine: EngineSettings) -> None:
    list(map_tasks(function, tasks, engine, "step"))


def test_a_task_runs_when_those_before_it_are_done(tmp_path: Path) -> None:
    before = {"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("c", "d")}
    heard: list[str] = []
    tasks = {name: (tmp_path, name, others) for name, others in before.items()}
    found = list(run_graph(made, tasks, before, TWO, "step", heard.append))
    assert dict(found) == dict.fromkeys(before, True)
    assert found[-1][0] == "e"
    assert sorted(heard) == [f"{name} is done" for name in before]


def test_results_come_in_order_and_workers_stay() -> None:
    first, second = (list(in_order(later_first, range(6), TWO, "step")) for _ in range(2))
    assert [task for task, _ in first] == list(range(6))
    assert os.getpid() not in (workers := {pid for _, pid in first})
    assert {pid for _, pid in second} <= workers


@pytest.mark.parametrize("run", [graph, ordered, mapped])
def test_a_killed_worker_is_one_clear_error(run: Callable[..., None]) -> None:
    with pytest.raises(WorkerLostError, match=r"ran out of memory.*engine\.workers"):
        run(dies, [0, 1], TWO)


@pytest.mark.parametrize("run", [graph, ordered, mapped])
def test_a_failure_ends_what_is_under_way(run: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match="broken"):
        run(fails_or_waits, [0, 1], TWO)
