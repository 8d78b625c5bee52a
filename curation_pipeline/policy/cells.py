"""The cells over which coverage is counted, the shares they should have, and floors of essential domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.pool import F64, Codes, Rows
from curation_pipeline.reward.targets import target_shares

_BASE = ("topic", "identity_group")
"""Axes that cells always tell apart."""


@dataclass(frozen=True, slots=True)
class Member:
    """Who counts towards a floor: the documents of one value of one axis.

    Attributes:
        name: of the floor.
        axis, code: the value, as a code of the axis.
        essential: whether each of the documents counts fully; otherwise it counts R_s.
    """

    name: str
    axis: str
    code: int
    essential: bool = False


@dataclass(frozen=True, slots=True)
class CellTable:
    """The k cells of a pool: topic x identity group, times every further axis that a target names.

    Attributes:
        axes: what cells tell apart.
        keys: (k,) the axes' codes as one number, strictly increasing.
        share: (k,) share of the pool's tokens.
        target: (k,) share that the set should have, or None for that of the pool.
    """

    axes: tuple[str, ...]
    keys: Rows
    share: F64
    target: F64 | None

    @classmethod
    def of(cls, codes: Mapping[str, Codes], tokens: F64, targets: Mapping[str, Mapping[str, float]]) -> CellTable:
        """The cells of a composition.

        Args:
            codes: axis -> value of each row of the composition.
            tokens: of each row.
            targets: axis -> value -> share, see ``reward.target_settings``; empty for no target.

        Raises:
            ConfigError: the pool lacks an axis or a value, or the targets contradict.
        """
        _known("reward.targets", codes, targets)
        axes = (*_BASE, *sorted(set(targets) - set(_BASE)))
        keys, first, cell = np.unique(_key(codes, axes), return_index=True, return_inverse=True)
        share = np.bincount(cell, weights=tokens, minlength=len(keys)) / tokens.sum()
        target = None
        if targets:
            of_cell = {name: (codes[name].code[first], codes[name].names) for name in axes}
            target = target_shares(share, of_cell, targets)
        return cls(axes, keys, share, target)

    def code(self, codes: Mapping[str, Codes]) -> Rows:
        """The cell (n,) of each document, from its codes; every combination has to be one of the table's."""
        return np.asarray(np.searchsorted(self.keys, _key(codes, self.axes)))


def _key(codes: Mapping[str, Codes], axes: tuple[str, ...]) -> Rows:
    key = np.zeros(len(codes[axes[0]].code), np.int64)
    for axis in axes:
        key = key * len(codes[axis].names) + codes[axis].code
    return key


def essential_floors(
    codes: Mapping[str, Codes], essential: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[Member, ...], tuple[float, ...]]:
    """Floors on the shares of essential values, in the form of the floors on groups.

    Args:
        codes: the axes of a pool.
        essential: axis -> value -> least share of the set's tokens.

    Returns:
        Who counts towards each floor, and the least shares.

    Raises:
        ConfigError: the pool holds nothing of a value.
    """
    _known("reward.essential", codes, essential)
    members: list[Member] = []
    least: list[float] = []
    for axis, values in sorted(essential.items()):
        names = codes[axis].names
        for value, share in sorted(values.items()):
            if value not in names:
                raise ConfigError(
                    f"reward.essential.{axis}.{value} is {share:g}, but the pool holds none of it; it holds "
                    f"{', '.join(names[:20])}"
                )
            members.append(Member(f"essential:{axis}:{value}", axis, names.index(value), essential=True))
            least.append(share)
    return tuple(members), tuple(least)


def _known(setting: str, codes: Mapping[str, Codes], shares: Mapping[str, Mapping[str, float]]) -> None:
    axes = [axis for axis in codes if axis != "stratum"]
    for axis in shares:
        if axis not in axes:
            raise ConfigError(f"{setting} names {axis}, of which the pool says nothing; it has {', '.join(axes)}")
