"""What a selector says about a pool: an inclusion probability and a weight for each document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation_pipeline.errors import DataError


@dataclass(frozen=True, slots=True)
class Scores:
    """Inclusion probabilities and weights of a pool, in the pool's order.

    The budget counts ``n_tokens`` of drawn documents whatever their weight: ``sum(probability * n_tokens)`` is the
    budget. A weight acts on the training loss, relative to the others of its batch.

    Attributes:
        probability: float64 (n,), in [0, 1]; 0 is never drawn and 1 is drawn before all others.
        weight: float32 (n,), at least 0, the loss weight if drawn.
        reason: for each document why it would not be drawn, "" for no particular reason; None for none at all.
    """

    probability: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float32]
    reason: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that differ and values out of range.

        Raises:
            DataError: a probability is not in [0, 1], a weight is negative or not finite, or lengths differ.
        """
        n = len(self.probability)
        if len(self.weight) != n or (self.reason is not None and len(self.reason) != n):
            raise DataError(f"scores of different lengths: {n} probabilities, {len(self.weight)} weights")
        if not bool(np.all((self.probability >= 0) & (self.probability <= 1))):
            raise DataError("a probability is not in [0, 1]; check the selector for values that are not finite")
        if not bool(np.all(np.isfinite(self.weight) & (self.weight >= 0))):
            raise DataError("a weight is negative or not finite; check the selector")
