from __future__ import annotations

import numpy as np
import pytest

from curation_pipeline.training.health import WINDOW, LossWatch


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_noise_is_not_divergence_and_a_rise_is(noise: float) -> None:
    rng = np.random.default_rng(0)
    watch = LossWatch(2.0, 3.0 + np.exp(-np.arange(400) / 50) + noise * rng.standard_normal(400))
    assert watch.healthy
    assert not watch.diverged
    risen: list[tuple[bool, bool]] = []
    for _ in range(WINDOW):
        watch.see(6.0)
        risen.append((watch.healthy, watch.diverged))
    assert risen[-1] == (False, True)
    # Weights stop being kept before the run is stopped.
    assert risen.index((False, False)) < risen.index((False, True))


def test_a_resumed_watch_is_the_same() -> None:
    losses = np.random.default_rng(1).normal(4, 1, 60)
    whole, resumed = LossWatch(2.0, losses), LossWatch(2.0, losses[:31])
    for loss in losses[31:]:
        resumed.see(float(loss))
    assert resumed.rise == whole.rise
