"""A new version of the labels or principles: the running reward takes over the new fit.

What was learned about the loop stays: the weights, the multipliers and the corrections. What the labels say is
replaced. Nothing is scored again, since a pool is built from the stored scores of the teachers and the stored vectors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.evidence import Move

KEPT = ("weights", "corrections")
"""Parts of the running reward that a new fit does not replace."""


def adopted(running: RewardModel, fitted: RewardModel) -> RewardModel:
    """The newly fitted parts under the running weights and corrections.

    Args:
        running: the reward model in force.
        fitted: the reward model that was fitted on the new labels or principles.
    """
    return replace(fitted, **{name: getattr(running, name) for name in KEPT})


def label_version_moves(
    running: RewardModel, follows: RewardModel, pool: pl.DataFrame, vectors: np.ndarray
) -> list[Move]:
    """What the new labels change on the pool, for people.

    Args:
        running: the reward model in force.
        follows: the one that takes over.
        pool: the documents with the teachers' columns.
        vectors: (n, d) their sentence vectors.

    Returns:
        One move for the mean P(harm) and one for the mean alignment, of the kind ``label_version``, told even where
        the mean stays the same.
    """
    before, after = running.annotate(pool, vectors), follows.annotate(pool, vectors)
    moves = []
    for column, what in (("p_harm", "P(harm)"), ("alignment", "alignment")):
        old, new = (frame[column].to_numpy().astype(np.float64) for frame in (before, after))
        changed = float((np.abs(new - old) > 0.1).mean())
        reason = (
            f"the labels or principles have changed: safety and alignment were fitted again, and {changed:.1%} of the "
            f"pool's documents move by more than 0.1 in {what}; weights, multipliers and corrections go on"
        )
        moves.append(Move(reason, f"label_version mean {what}", float(old.mean()), float(new.mean()), "label_version"))
    return moves
