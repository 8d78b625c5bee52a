"""The cells over which coverage is counted, the shares they should have, and floors of essential domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F64, I32, Pool
from curation_pipeline.reward.targets import target_shares

_BASE = ("topic", "identity_group")
"""Axes that cells always tell apart."""


@dataclass(frozen=True, slots=True)
class Cells:
    """k cells of n documents.

    Attributes:
        code: (n,) cell of each document.
        share: (k,) share of the pool's tokens.
        target: (k,) share that the set should have, or None for that of the pool.
    """

    code: I32
    share: F64
    target: F64 | None


def cells_of(pool: Pool, length: F64, targets: Mapping[str, Mapping[str, float]]) -> Cells:
    """Topic x identity group, times every further axis that a target names.

    Args:
        pool: n documents.
        length: (n,) token mass.
        targets: axis -> value -> share, see ``reward.target_settings``; empty for no target.

    Raises:
        ConfigError: the pool lacks an axis or a value, or the targets contradict.
    """
    axes = pool.axes
    _known("reward.targets", pool, targets)
    names = (*_BASE, *sorted(set(targets) - set(_BASE)))
    code = np.zeros(len(pool), dtype=np.int64)
    for name in names:
        code = code * len(axes[name].names) + axes[name].code
    distinct, first, cell = np.unique(code, return_index=True, return_inverse=True)
    share = np.bincount(cell, weights=length, minlength=len(distinct)) / length.sum()
    target = None
    if targets:
        of_cell = {name: (axes[name].code[first], axes[name].names) for name in names}
        target = target_shares(share, of_cell, targets)
    return Cells(cell.astype(np.int32), share, target)


def essential_floors(pool: Pool, essential: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, ...], F64, F64]:
    """Floors on the shares of essential values, in the form of the floors on groups.

    Args:
        pool: n documents.
        essential: axis -> value -> least share of the set's tokens.

    Returns:
        Names, (n, G) 1 for the documents of each value, and the (G,) least shares.

    Raises:
        ConfigError: the pool holds nothing of a value.
    """
    _known("reward.essential", pool, essential)
    names: list[str] = []
    columns: list[F64] = []
    least: list[float] = []
    for axis, values in sorted(essential.items()):
        codes = pool.axes[axis]
        for value, share in sorted(values.items()):
            if value not in codes.names:
                raise ConfigError(
                    f"reward.essential.{axis}.{value} is {share:g}, but the pool holds none of it; it holds "
                    f"{', '.join(codes.names[:20])}"
                )
            names.append(f"essential:{axis}:{value}")
            columns.append((codes.code == codes.names.index(value)).astype(np.float64))
            least.append(share)
    members = np.stack(columns, axis=1) if columns else np.empty((len(pool), 0))
    return tuple(names), members, np.asarray(least)


def _known(setting: str, pool: Pool, shares: Mapping[str, Mapping[str, float]]) -> None:
    for axis in shares:
        if axis not in pool.axes:
            raise ConfigError(f"{setting} names {axis}, of which the pool says nothing; it has {', '.join(pool.axes)}")
