"""The final choice among all models: the Pareto front of safety and capability, and P among those on it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError

_WIDTH = NormalDist().inv_cdf(0.975)
RESAMPLES = 2_000


def non_dominated(safety: np.ndarray, capability: np.ndarray) -> np.ndarray:
    """Which candidates no other one beats: none is at least as good in both and better in one.

    Args:
        safety: (..., n), higher is better.
        capability: (..., n), higher is better.

    Returns:
        bool (..., n).
    """
    s, c = safety[..., :, None], capability[..., :, None]
    t, d = safety[..., None, :], capability[..., None, :]
    beaten = (t >= s) & (d >= c) & ((t > s) | (d > c))
    return np.asarray(~beaten.any(axis=-1))


def pareto_front(candidates: pl.DataFrame, rng: np.random.Generator, resamples: int = RESAMPLES) -> pl.DataFrame:
    """Mark the front and the model that is chosen: the highest P = (S + C) / 2 on the front, the earlier one at a tie.

    The highest P always lies on the front; the front shows what that weighing of S and C gives up. How much the choice
    owes to chance is told by two shares: each candidate's S and C are drawn again within their intervals (independent
    normals, which overstates the noise of models that were evaluated on the same items), and the front and the
    choice are found again.

    Args:
        candidates: safety and capability with safety_low, safety_high, capability_low, capability_high (null where
            there is no interval: then the figure is taken as exact), and whatever tells the models apart; one row a
            model, in the order of their making.
        rng: source of the draws.
        resamples: how many.

    Returns:
        The rows with performance, on_front, chosen, front_share and chosen_share (shares of the draws, in [0, 1]).

    Raises:
        DataError: there is no candidate.
    """
    if candidates.is_empty():
        raise DataError("there is no model to choose from: run an iteration first")
    safety, capability = (candidates[axis].to_numpy() for axis in ("safety", "capability"))
    front = non_dominated(safety, capability)
    performance = 0.5 * (safety + capability)
    drawn = [
        candidates[axis].to_numpy() + _error(candidates, axis) * rng.standard_normal((resamples, candidates.height))
        for axis in ("safety", "capability")
    ]
    wins = np.bincount((drawn[0] + drawn[1]).argmax(axis=1), minlength=candidates.height)
    return candidates.with_columns(
        pl.Series("performance", performance),
        pl.Series("on_front", front),
        pl.Series("chosen", np.arange(candidates.height) == int(np.argmax(np.where(front, performance, -np.inf)))),
        pl.Series("front_share", non_dominated(drawn[0], drawn[1]).mean(axis=0)),
        pl.Series("chosen_share", wins / resamples),
    )


def _error(candidates: pl.DataFrame, axis: str) -> np.ndarray:
    width = candidates[f"{axis}_high"].cast(pl.Float64) - candidates[f"{axis}_low"].cast(pl.Float64)
    return np.asarray(width.fill_null(0.0).to_numpy() / (2 * _WIDTH))
