"""Work on a real Ray cluster of two nodes: the local engine's contract, and nodes that are lost and join."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation_pipeline.engine.mapping import in_order, map_tasks, run_graph, sharing
from curation_pipeline.engine.messages import say
from curation_pipeline.engine.settings import EngineSettings, TaskRequest
from curation_pipeline.errors import ConfigError, WorkerLostError
from tests.engine.test_local import fails_or_waits, later_first, made

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = pytest.mark.slow

ACTORS, RETRIES = 2, 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    started.add_node(num_cpus=1)
    started.wait_for_nodes()
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def engine(cluster: Any) -> EngineSettings:
    requests = {"model": TaskRequest(cpus=0.5, actors=ACTORS)}
    return EngineSettings(kind="ray", address=cluster.address, retries=RETRIES, requests=requests)


def dies_first(task: tuple[Path, int]) -> int:
    """Die the first time that it runs, as a worker does whose machine runs out of memory."""
    folder, number = task
    try:
        (folder / str(number)).touch(exist_ok=False)
    except FileExistsError:
        return number
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


def always_dies(task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def parent_of(task: tuple[EngineSettings, int]) -> list[int]:
    """Map tasks of its own, as a step does whose partition has several chunks."""
    engine, number = task
    say(f"{number} begins")
    return list(in_order(slowly, [10 * number + part for part in range(4)], engine, "part"))


def slowly(task: int) -> int:
    time.sleep(0.2)
    return task


def test_a_graph_runs_in_its_order_and_is_heard(engine: EngineSettings, tmp_path: Path) -> None:
    before = {"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("c", "d")}
    heard: list[str] = []
    tasks = {name: (tmp_path, name, others) for name, others in before.items()}
    found = list(run_graph(made, tasks, before, engine, "step", heard.append))
    assert dict(found) == dict.fromkeys(before, True)
    assert sorted(heard) == [f"{name} is done" for name in before]


def test_actors_stay_for_all_tasks(engine: EngineSettings) -> None:
    found = list(in_order(later_first, range(6), engine, "model"))
    assert [task for task, _ in found] == list(range(6))
    assert len({pid for _, pid in found}) <= ACTORS


def test_tasks_that_wait_for_tasks_of_theirs_do_not_stop_each_other(engine: EngineSettings) -> None:
    """As many of them as there are CPUs: their own tasks need the same CPUs."""
    tasks = {number: (engine, number) for number in range(4)}
    heard: list[str] = []
    found = dict(run_graph(parent_of, tasks, dict.fromkeys(tasks, ()), engine, "artefact", heard.append))
    assert found == {number: [10 * number + part for part in range(4)] for number in tasks}
    assert sorted(heard) == [f"{number} begins" for number in tasks]


@pytest.mark.parametrize("step", ["plain", "model"])
def test_a_lost_worker_is_replaced(engine: EngineSettings, tmp_path: Path, step: str) -> None:
    found = dict(map_tasks(dies_first, [(tmp_path, number) for number in range(3)], engine, step))
    assert found == {number: number for number in range(3)}


def test_a_task_that_is_always_lost_is_one_clear_error(engine: EngineSettings) -> None:
    with pytest.raises(WorkerLostError, match=r"step was lost 3 times.*engine\.requests\.step\.memory_gb"):
        list(map_tasks(always_dies, [0, 1], engine, "step"))


@pytest.mark.parametrize("step", ["plain", "model"])
def test_a_failure_ends_what_is_under_way(engine: EngineSettings, step: str) -> None:
    with pytest.raises(ValueError, match="broken"):
        list(map_tasks(fails_or_waits, [0, 1], engine, step))
    assert dict(map_tasks(slowly, [1, 2], engine, "after")) == {0: 1, 1: 2}  # the CPUs are free again


def test_a_killed_node_loses_no_task(engine: EngineSettings, cluster: Any) -> None:
    extra = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    found: dict[int, int] = {}
    for index, value in map_tasks(slowly, range(40), engine, "step"):
        found[index] = value
        if len(found) == 10:
            cluster.remove_node(extra, allow_graceful=False)
    assert found == {number: number for number in range(40)}


def test_files_are_exchanged_where_nodes_share_the_folder(engine: EngineSettings, tmp_path: Path) -> None:
    assert sharing(engine, tmp_path, []) is engine
    assert sharing(engine, tmp_path, [tmp_path / "absent"]).kind == "local"
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    ray.shutdown()
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at '127\.0\.0\.1:9'.*engine\.address"):
        list(map_tasks(slowly, [1, 2], EngineSettings(kind="ray", address="127.0.0.1:9"), "step"))
