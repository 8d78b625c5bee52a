from __future__ import annotations

from pathlib import Path

import pytest

from curation_pipeline.policy.ppo import train_policy
from curation_pipeline.policy.resume import FILE
from research.synthetic_pool import SyntheticPool

from .conftest import SMALL, objective

FILES = ("policy.safetensors", "policy.json")


class KilledError(Exception):
    """Stands for the end of the process."""


def train(pool: SyntheticPool, out: Path, scratch: Path | None, parent: Path | None, kill_at: int | None = None) -> int:
    """Train; returns the rollouts that were collected in this call."""
    rollouts = 0

    def progress(what: str, fraction: float) -> None:
        nonlocal rollouts
        rollouts += 1
        if rollouts == kill_at:
            raise KilledError

    train_policy(
        pool.pool, objective(pool.budget_tokens), SMALL, 3, parent, out, progress, scratch=scratch, save_seconds=0.0
    )
    return rollouts


@pytest.mark.parametrize("kills", [(1,), (2,), (3,), (2, 1, 2)])
@pytest.mark.parametrize("warm", [False, True])
def test_a_killed_training_ends_in_the_same_bytes(
    small: SyntheticPool, tmp_path: Path, kills: tuple[int, ...], warm: bool
) -> None:
    parent = None
    if warm:
        parent = tmp_path / "parent"
        train(small, parent, None, None)
    whole = train(small, tmp_path / "whole", None, parent)
    scratch = tmp_path / "scratch"
    if warm:
        kills = kills[:1]
    for kill in kills:
        if kill < whole:
            with pytest.raises(KilledError):
                train(small, tmp_path / "out", scratch, parent, kill)
    left = train(small, tmp_path / "out", scratch, parent)
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    if max(kills) > 1 and whole > max(kills):
        assert left < whole, "it must go on, not start again"


def test_a_damaged_state_starts_again(small: SyntheticPool, tmp_path: Path) -> None:
    whole = train(small, tmp_path / "whole", None, None)
    with pytest.raises(KilledError):
        train(small, tmp_path / "out", tmp_path / "scratch", None, 3)
    state = tmp_path / "scratch" / FILE
    raw = bytearray(state.read_bytes())
    raw[-3] ^= 1
    state.write_bytes(raw)
    assert train(small, tmp_path / "out", tmp_path / "scratch", None) == whole
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
