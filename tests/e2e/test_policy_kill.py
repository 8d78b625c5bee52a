"""Policy training in a process of its own that is killed (SIGKILL) and started again: the bytes are the same."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import unittest.mock
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from curation_pipeline.policy import resume
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.ppo import train_policy
from curation_pipeline.policy.settings import PolicySettings
from research.synthetic_pool import synthetic_pool

pytestmark = [pytest.mark.slow]

SETTINGS = PolicySettings(
    n_parallel_candidates=64,
    episode_candidates=512,
    cold_start_candidates=6_144,
    warm_start_candidates=3_072,
    rollout_steps=4,
    batch_size=64,
    n_epochs=2,
    net_arch=(16, 8),
    random_features=16,
)
ROLLOUTS = 24
"""Of a cold start; the state is written before each but the first."""
FILES = ("policy.safetensors", "policy.json")
CONTEXT = multiprocessing.get_context("forkserver")
# One process imports what a training needs and every child is a fork of it: a child is then at work within a moment.
CONTEXT.set_forkserver_preload([__name__])


def train(folder: Path, parent: Path | None, trap: str, at: int) -> None:
    """What a child does: train into ``folder / "out"`` and count its rollouts, or die in the trap.

    Args:
        folder: of the work; its scratch folder is what an earlier child left.
        parent: policy to start from.
        trap: "" for none, "half" to be killed when half of a state is written, "whole" when all of it is written under
            its temporary name.
        at: which of the states that this child writes is the one.
    """
    pool = synthetic_pool(5, 600)
    goal = Objective(0.4, 0.1, 0.5, 0.0, None, pool.budget_tokens)
    rollouts = folder / "rollouts"
    rollouts.write_bytes(b"")
    left = at

    def save_and_die(arrays: Any, path: Path, metadata: Any) -> None:
        nonlocal left
        save_file(arrays, path, metadata=metadata)
        left -= 1
        if left == 0:
            if trap == "half":
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def progress(what: str, fraction: float) -> None:
        with rollouts.open("ab") as file:
            file.write(b".")

    if trap:
        unittest.mock.patch.object(resume, "save_file", save_and_die).start()
    scratch = folder / "scratch"
    train_policy(pool.pool, goal, SETTINGS, 3, parent, folder / "out", progress, scratch=scratch, save_seconds=0.0)


def start(folder: Path, parent: Path | None = None, trap: str = "", at: int = 0) -> ForkServerProcess:
    folder.mkdir(exist_ok=True)
    child = CONTEXT.Process(target=train, args=(folder, parent, trap, at))
    child.start()
    return child


def finish(child: ForkServerProcess) -> int | None:
    child.join()
    return child.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    """The policy with its duals and price, and the last state: optimiser, environment and every random stream."""
    found = {name: (folder / "out" / name).read_bytes() for name in FILES}
    return {**found, "state": (folder / "scratch" / resume.FILE).read_bytes()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A training that nobody disturbs, and how long it takes once it has begun."""
    folder = tmp_path_factory.mktemp("whole")
    child = start(folder)
    begun = wait_for_rollouts(child, folder, 1)
    assert finish(child) == 0
    seconds = time.monotonic() - begun
    assert (folder / "rollouts").stat().st_size == ROLLOUTS
    return folder, seconds


def wait_for_rollouts(child: ForkServerProcess, folder: Path, n: int) -> float:
    """Wait until the child has collected n rollouts (or has ended); the time then."""
    rollouts = folder / "rollouts"
    while child.is_alive() and not (rollouts.exists() and rollouts.stat().st_size >= n):
        time.sleep(0.002)
    return time.monotonic()


def test_killed_at_random_moments(whole: tuple[Path, float], tmp_path: Path) -> None:
    """Kills after random delays that grow, each child going on from what the last one left, until one comes through."""
    reference, seconds = whole
    rng = random.Random(20)
    folder = tmp_path / "work"
    inside, kills = 0, 0
    while True:
        (folder / "rollouts").unlink(missing_ok=True)
        child = start(folder)
        wait_for_rollouts(child, folder, 1)
        # Growing, so that a training of any speed gets on and ends.
        time.sleep(rng.uniform(0.02, 0.15) * seconds * 1.2**kills)
        child.kill()
        if finish(child) == 0:
            break
        kills += 1
        inside += not (folder / "out" / "policy.json").exists() and (folder / "rollouts").stat().st_size > 0
    assert inside >= 1, f"none of {kills} kills fell inside the training"
    assert contents(folder) == contents(reference)
    print(f"{inside} of {kills} kills fell inside the training")


@pytest.mark.parametrize("trap", ["half", "whole"])
def test_killed_while_it_writes_its_state(whole: tuple[Path, float], tmp_path: Path, trap: str) -> None:
    """The state of before stays valid: the training goes on from there."""
    reference, _ = whole
    folder = tmp_path / "work"
    for at in (1, 5, 9):  # the first state of all, then two in children that had gone on from a state
        child = start(folder, trap=trap, at=at)
        assert finish(child) == -signal.SIGKILL
        assert list((folder / "scratch").glob(".*")), "it was killed while it wrote"
        assert not (folder / "out").exists()
    assert finish(start(folder)) == 0
    # The second child kept states 1 to 4; the third wrote the fourth again, as the first of its own, and 5 to 11.
    assert (folder / "rollouts").stat().st_size == ROLLOUTS - 11
    assert contents(folder) == contents(reference)


def test_a_warm_start_is_killed(whole: tuple[Path, float], tmp_path: Path) -> None:
    parent = whole[0] / "out"
    assert finish(start(tmp_path / "whole", parent)) == 0
    killed = start(tmp_path / "work", parent)
    wait_for_rollouts(killed, tmp_path / "work", 4)
    killed.kill()
    assert finish(killed) == -signal.SIGKILL
    assert not (tmp_path / "work" / "out").exists()
    assert finish(start(tmp_path / "work", parent)) == 0
    assert (tmp_path / "work" / "rollouts").stat().st_size <= ROLLOUTS // 2 - 3
    assert contents(tmp_path / "work") == contents(tmp_path / "whole")
