"""Whether a training run is getting worse: a loss that runs away, told from one that is only noisy."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

WINDOW = 16
"""Steps whose losses are averaged before they are compared."""


class LossWatch:
    """The mean of the last losses against the lowest such mean so far.

    Attributes:
        limit: nats per token by which the mean may rise before the run counts as diverged.
    """

    def __init__(self, limit: float, losses: Iterable[float] = ()) -> None:
        self.limit = limit
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._lowest = float("inf")
        for loss in losses:
            self.see(loss)

    def see(self, loss: float) -> None:
        """Take note of the next step's loss."""
        self._last.append(loss)
        if len(self._last) == WINDOW:
            self._lowest = min(self._lowest, self._mean())

    @property
    def rise(self) -> float:
        """Nats per token by which the mean of the last steps lies above its lowest; 0 before there are enough."""
        return self._mean() - self._lowest if len(self._last) == WINDOW else 0.0

    @property
    def diverged(self) -> bool:
        """Whether the loss has risen past the limit."""
        return self.rise > self.limit

    @property
    def healthy(self) -> bool:
        """Whether weights of now are worth keeping: the loss has not risen half as far as the limit."""
        return self.rise < 0.5 * self.limit

    def _mean(self) -> float:
        return sum(self._last) / len(self._last)
