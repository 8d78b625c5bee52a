"""Statistics of a whole pool, fitted once: its composition, bins of coverage, floors, and mean random features.

A composition is a small table of whole numbers, one row for each combination of names that occurs. Those of the parts
of a pool add up to that of the pool, exactly and in any order. Shares, targets and floors come from it; the mean of the
random features comes from a weighted sample of the documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.errors import ConfigError
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, NO_GROUP, Codes, Pool, Rows
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.targets import target_shares

Shares = Mapping[str, Mapping[str, float]]
"""Axis -> value -> share of the tokens."""
_UNIT = float(1 << 16)
"""Safety and alignment are counted in whole multiples of 1 / 65536 of a token."""
_MOST_FLOORED = 0.9
"""Membership floors together ask for no more than this share of the draw."""
_COUNTS = ("documents", "tokens", "safety", "alignment")
_COVERAGE_AXES = ("topic", "identity_group")
"""Axes that coverage always tells apart; toxicity is none, so that diversity never asks for toxic text."""
_BLOCK = 4096


def composition_of(pool: Pool) -> pl.DataFrame:
    """The composition of some documents: one row for each combination of ``Pool.columns`` that occurs.

    Returns:
        The names, ``documents`` and ``tokens``, and ``safety`` and ``alignment``: sums over tokens of R_s and R_a in
        units of 1 / 65536; sorted by the names.
    """
    columns = pool.columns
    rounded = {
        name: pool.n_tokens * np.rint(value.astype(np.float64) * _UNIT).astype(np.int64)
        for name, value in (("safety", pool.safety), ("alignment", pool.alignment))
    }
    counted = (
        pl.DataFrame({"key": crossed(columns, columns), "tokens": pool.n_tokens, **rounded})
        .group_by("key")
        .agg(pl.len().cast(pl.Int64).alias("documents"), pl.col("tokens", "safety", "alignment").sum())
    )
    rest = counted["key"].to_numpy()
    names: dict[str, pl.Series] = {}
    for axis, codes in reversed(columns.items()):
        rest, code = np.divmod(rest, len(codes.names))
        names[axis] = pl.Series(axis, list(codes.names), dtype=pl.Utf8).gather(code)
    return counted.select(*(names[axis] for axis in columns), *_COUNTS).sort(*columns)


def merged(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The composition of several parts of a pool together; associative and commutative."""
    every = pl.concat(list(parts))
    axes = axes_of(every)
    return every.group_by(axes).agg(pl.col(_COUNTS).sum()).sort(axes)


def axes_of(composition: pl.DataFrame) -> list[str]:
    """The categorical columns of a composition."""
    return [column for column in composition.columns if column not in _COUNTS]


def crossed(codes: Mapping[str, Codes], axes: Iterable[str]) -> Rows:
    """The crossing of some axes as one number (n,) a document; it is unique to the combination of names."""
    key = np.zeros(len(next(iter(codes.values())).code), np.int64)
    for axis in axes:
        key = key * len(codes[axis].names) + codes[axis].code
    return key


def weighted_sum(mass: F64, phi: F32) -> F64:
    """sum_i mass_i phi_i (D,), in float32 within a block and in float64 over blocks."""
    total = np.zeros(phi.shape[1])
    for start in range(0, len(mass), _BLOCK):
        total += mass[start : start + _BLOCK].astype(np.float32) @ phi[start : start + _BLOCK]
    return total


@dataclass(frozen=True, slots=True)
class Floor:
    """A constraint that the set holds enough of one value of one axis.

    Attributes:
        name: of the floor.
        axis, code: the value, as a code of the axis.
        least: least mean of what counts, over the set's weighted tokens.
        whole: whether each document of the value counts fully; otherwise it counts R_s.
    """

    name: str
    axis: str
    code: int
    least: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class CoverageBins:
    """The k bins over which coverage is counted: topic x identity group x every further axis that a target names.

    Attributes:
        axes: what bins tell apart.
        keys: (k,) the axes' codes as one number, strictly increasing.
        share: (k,) share of the pool's tokens.
        target: (k,) share that the set should have, or None for that of the pool.
    """

    axes: tuple[str, ...]
    keys: Rows
    share: F64
    target: F64 | None

    @classmethod
    def of(cls, codes: Mapping[str, Codes], tokens: F64, targets: Shares) -> CoverageBins:
        """The bins of a composition with codes (rows,) by axis, and tokens (rows,); ``targets`` may be empty.

        Raises:
            ConfigError: the pool lacks an axis or a value, or the targets contradict.
        """
        _require_axes("reward.targets", codes, targets)
        axes = (*_COVERAGE_AXES, *sorted(set(targets) - set(_COVERAGE_AXES)))
        keys, first, place = np.unique(crossed(codes, axes), return_index=True, return_inverse=True)
        share = np.bincount(place, weights=tokens, minlength=len(keys)) / tokens.sum()
        of_bin = {name: (codes[name].code[first], codes[name].names) for name in axes}
        return cls(axes, keys, share, target_shares(share, of_bin, targets) if targets else None)

    def code(self, codes: Mapping[str, Codes]) -> Rows:
        """The bin (n,) of each document, from its codes; every combination has to be one of these bins."""
        return np.asarray(np.searchsorted(self.keys, crossed(codes, self.axes)))


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What is known of one pool under one objective, whatever is selected.

    Attributes:
        objective, settings: what is maximised, and how the process is set.
        documents, tokens: of the whole pool.
        coverage: bins of coverage.
        stratum_share: (K,) share of the pool's tokens in each stratum.
        credit_index: (K,) place of each stratum among the credit's strata, -1 if it has none.
        floors: the G floors.
        mean_phi: (D,) token-weighted mean of the random features.
        mean_harm, mean_alignment: token-weighted means.
    """

    objective: Objective
    settings: PolicySettings
    documents: int
    tokens: int
    coverage: CoverageBins
    stratum_share: F64
    credit_index: Rows
    floors: tuple[Floor, ...]
    mean_phi: F64
    mean_harm: float
    mean_alignment: float

    @classmethod
    def of(
        cls,
        composition: pl.DataFrame,
        names: Mapping[str, tuple[str, ...]],
        mean_phi: F64,
        objective: Objective,
        settings: PolicySettings,
    ) -> PoolStatistics:
        """Statistics of a pool with a composition.

        Args:
            composition: of the whole pool.
            names: axis -> names of the codes that documents come with.
            mean_phi: (D,) token-weighted mean of the random features.
            objective: what is maximised.
            settings: of the process.

        Raises:
            ConfigError: targets or essential values name what the pool does not hold, or targets contradict.
        """
        codes = {axis: Codes.of(composition[axis], names[axis]) for axis in axes_of(composition)}
        counts = {name: composition[name].to_numpy().astype(np.float64) for name in _COUNTS}
        tokens, safety = counts["tokens"], counts["safety"] / _UNIT
        total = float(tokens.sum())
        mean_harm = 1.0 - float(safety.sum()) / total
        place = {name: i for i, name in enumerate(objective.credit.strata)} if objective.credit is not None else {}
        return cls(
            objective=objective,
            settings=settings,
            documents=int(counts["documents"].sum()),
            tokens=int(total),
            coverage=CoverageBins.of(codes, tokens, objective.targets),
            stratum_share=codes["stratum"].shares(tokens),
            credit_index=np.array([place.get(name, -1) for name in names["stratum"]], dtype=np.int64),
            floors=(
                *_group_floors(codes, tokens, safety, settings),
                *_membership_floors(codes["identity_group"], tokens, mean_harm, settings),
                *_essential_floors(codes, objective.essential),
            ),
            mean_phi=mean_phi,
            mean_harm=mean_harm,
            mean_alignment=float(counts["alignment"].sum()) / _UNIT / total,
        )

    @property
    def mean_tokens(self) -> float:
        """Tokens of the mean document: the unit of normalised tokens."""
        return self.tokens / self.documents

    @property
    def budget(self) -> float:
        """The budget in normalised tokens, at most the whole pool."""
        return min(self.objective.budget_tokens / self.tokens, 1.0) * self.documents

    @property
    def least(self) -> F64:
        """(G,) least mean of each floor."""
        return np.array([floor.least for floor in self.floors], dtype=np.float64)

    def stratum_credit(self, share: F64) -> F64:
        """Downstream credit (K,) of the pool's strata at a composition (K,) of them; 0 for those without any."""
        credit, index = self.objective.credit, self.credit_index
        if credit is None:
            return np.zeros(len(index))
        known = index >= 0
        composition = np.zeros(len(credit.strata))
        composition[index[known]] = share[known]
        return np.where(known, np.asarray(credit.at(composition))[index], 0.0)

    def floor_counts(self, pool: Pool) -> F64:
        """How much each document counts towards each floor (n, G), see ``Floor.whole``."""
        columns = pool.axes
        counted = np.zeros((len(pool), len(self.floors)))
        for g, floor in enumerate(self.floors):
            inside = columns[floor.axis].code == floor.code
            counted[inside, g] = 1.0 if floor.whole else pool.safety[inside]
        return counted


def _group_floors(codes: Mapping[str, Codes], tokens: F64, safety: F64, settings: PolicySettings) -> list[Floor]:
    """Floors on the benign text of each group that is large enough to have one."""
    total = float(tokens.sum())
    floors: list[Floor] = []
    for axis in settings.floor_axes:
        column = codes[axis]
        held = np.bincount(column.code, weights=safety, minlength=len(column.names))
        for code, (name, share) in enumerate(zip(column.names, column.shares(tokens), strict=True)):
            if share >= settings.floor_minimum_share and name != NO_GROUP:
                least = settings.group_floor * float(held[code]) / total
                floors.append(Floor(f"{axis}:{name}", axis, code, least))
    return floors


def _membership_floors(groups: Codes, tokens: F64, mean_harm: float, settings: PolicySettings) -> list[Floor]:
    """Floors on the tokens of each identity group, however harmful a detector finds it.

    A floor on benign text by the score does not help a group whose benign text is scored as harmful: that is the error
    that it should be held against. A draw without harm and without favour would hold share / (1 - mean P(harm)).
    """
    shares = {
        code: settings.membership_floor * float(share) / (1.0 - mean_harm)
        for code, share in enumerate(groups.shares(tokens))
        if share >= settings.floor_minimum_share and groups.names[code] != NO_GROUP
    }
    too_much = max(sum(shares.values()) / _MOST_FLOORED, 1.0)
    return [
        Floor(f"members:{groups.names[code]}", "identity_group", code, share / too_much, whole=True)
        for code, share in shares.items()
        if share > 0.0
    ]


def _essential_floors(codes: Mapping[str, Codes], essential: Shares) -> list[Floor]:
    """Floors on the shares of essential values.

    Raises:
        ConfigError: the pool holds nothing of a value.
    """
    _require_axes("reward.essential", codes, essential)
    floors: list[Floor] = []
    for axis, values in sorted(essential.items()):
        names = codes[axis].names
        for value, share in sorted(values.items()):
            if value not in names:
                raise ConfigError(
                    f"reward.essential.{axis}.{value} is {share:g}, but the pool holds none of it; it holds "
                    f"{', '.join(names[:20])}"
                )
            floors.append(Floor(f"essential:{axis}:{value}", axis, names.index(value), share, whole=True))
    return floors


def _require_axes(setting: str, codes: Mapping[str, Codes], shares: Shares) -> None:
    axes = [axis for axis in codes if axis != "stratum"]
    for axis in shares:
        if axis not in axes:
            raise ConfigError(f"{setting} names {axis}, of which the pool says nothing; it has {', '.join(axes)}")
