"""Which ids have been seen, in sixteen bytes each."""

from __future__ import annotations

import numpy as np
import polars as pl

Digests = tuple[np.ndarray, np.ndarray]
"""Upper and lower 64 bits, sorted by the upper."""


def split_ids(ids: pl.Series) -> Digests:
    """The two halves of 128-bit ids in hexadecimal, in the order given: two uint64 arrays of shape (n,)."""
    raw = np.frombuffer(bytes.fromhex("".join(ids.to_list())), dtype=">u8").reshape(-1, 2)
    return raw[:, 0].astype(np.uint64), raw[:, 1].astype(np.uint64)


class DigestSet:
    """A growing set of 128-bit ids as sorted runs of numpy arrays.

    A new batch is a run of its own, and runs of similar length are merged, so that there are few: adding n ids costs
    O(n log n) in all, and 16 bytes each (twice that for a moment while the longest runs are merged), where a Python set
    takes more than 100.
    """

    def __init__(self) -> None:
        self._runs: list[Digests] = []

    def __len__(self) -> int:
        return sum(len(high) for high, _ in self._runs)

    def add(self, ids: pl.Series) -> pl.Series:
        """Add ids.

        Args:
            ids: 32 hexadecimal digits each, length n.

        Returns:
            Boolean of length n: whether the id came before, in the set or in ``ids`` itself.
        """
        if ids.is_empty():
            return pl.Series("duplicate", [], dtype=pl.Boolean)
        high, low = split_ids(ids)
        seen = np.asarray(~ids.is_first_distinct().to_numpy())
        for run in self._runs:
            seen |= _contained(high, low, run)
        new = ~seen
        if new.any():
            order = np.argsort(high[new], kind="stable")
            self._runs.append((high[new][order], low[new][order]))
            self._merge()
        return pl.Series("duplicate", seen)

    def _merge(self) -> None:
        while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) > len(self._runs[-2][0]):
            second, first = self._runs.pop(), self._runs.pop()
            high = np.concatenate((first[0], second[0]))
            # Two sorted runs: the stable sort finds and merges them in linear time.
            order = np.argsort(high, kind="stable")
            self._runs.append((high[order], np.concatenate((first[1], second[1]))[order]))


def _contained(high: np.ndarray, low: np.ndarray, run: Digests) -> np.ndarray:
    """Which ids are in a run: boolean of shape (n,)."""
    highs, lows = run
    place = np.searchsorted(highs, high)
    found = np.zeros(len(high), dtype=bool)
    open_ = np.flatnonzero(place < len(highs))
    while len(open_):
        open_ = open_[highs[place[open_]] == high[open_]]
        equal = lows[place[open_]] == low[open_]
        found[open_[equal]] = True
        # Two ids that share their upper half lie side by side: as good as never, but then look further.
        open_ = open_[~equal]
        place[open_] += 1
        open_ = open_[place[open_] < len(highs)]
    return found
