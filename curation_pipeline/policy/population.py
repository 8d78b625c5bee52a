"""What is known of a whole pool: its composition, and what every document of it is measured against.

A composition is a small table, one row for each combination of names that occurs, with whole numbers in it: those of
the parts of a pool add up to that of the pool, in any order and exactly. From it come shares, cells, targets and
floors; what needs the documents themselves (mean random features, the unit of the reward) is taken from a weighted
sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.policy.cells import CellTable, Member, essential_floors
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F32, F64, NO_GROUP, Codes, Pool, Rows
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.targets import divergence

_UNIT = float(1 << 16)
"""Safety and alignment are counted in whole multiples of 1 / 65536 of a token."""
_MOST_FLOORED = 0.9
"""Membership floors together ask for no more than this share of the draw."""
_COUNTS = ("documents", "tokens", "safety", "alignment")


def composition_of(pool: Pool) -> pl.DataFrame:
    """The composition of some documents: one row for each combination of ``Pool.columns`` that occurs.

    Returns:
        The names, ``documents`` and ``tokens``, and ``safety`` and ``alignment``: sums over tokens of R_s and R_a in
        units of 1 / 65536; sorted by the names.
    """
    columns = pool.columns
    key = np.zeros(len(pool), np.int64)
    for codes in columns.values():
        key = key * len(codes.names) + codes.code
    rounded = {
        name: pool.n_tokens * np.rint(value.astype(np.float64) * _UNIT).astype(np.int64)
        for name, value in (("safety", pool.safety), ("alignment", pool.alignment))
    }
    counted = (
        pl.DataFrame({"key": key, "tokens": pool.n_tokens, **rounded})
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
    axes = [column for column in every.columns if column not in _COUNTS]
    return every.group_by(axes).agg(pl.col(_COUNTS).sum()).sort(axes)


def axes_of(composition: pl.DataFrame) -> list[str]:
    """The categorical columns of a composition."""
    return [column for column in composition.columns if column not in _COUNTS]


@dataclass(frozen=True, slots=True)
class Population:
    """The facts of one pool under one objective that no single document changes.

    Attributes:
        objective, settings: what is maximised, and how the process is set.
        names: axis -> names, in whose codes the documents come.
        documents, tokens: of the whole pool.
        cells: cells of coverage, see ``cells``.
        stratum_share: share of the pool's tokens in each stratum.
        credit_index: for each stratum its place in the credit's strata, -1 if it has none.
        members: who counts towards each of the G floors.
        floor: (G,) least mean of what counts in the curated set.
        mean_phi: (D,) token-weighted mean of the random features.
        mean_harm, mean_alignment: token-weighted means.
        reference, reward_unit: see ``Prepared``.
    """

    objective: Objective
    settings: PolicySettings
    names: Mapping[str, tuple[str, ...]]
    documents: int
    tokens: int
    cells: CellTable
    stratum_share: F64
    credit_index: Rows
    members: tuple[Member, ...]
    floor: F64
    mean_phi: F64
    mean_harm: float
    mean_alignment: float
    reference: float = 0.0
    reward_unit: float = 0.0

    @property
    def mean_tokens(self) -> float:
        """Tokens of the mean document: the unit of ``Prepared.length``."""
        return self.tokens / self.documents

    @property
    def budget(self) -> float:
        """The budget in normalised tokens, at most the whole pool."""
        return min(self.objective.budget_tokens / self.tokens, 1.0) * self.documents

    @property
    def relative_centre(self) -> F64:
        """(5,) of the state-relative features: the novelty of the mean document beside the whole pool, else 0."""
        return np.array([0.0, 0.0, 1.0 - float(self.mean_phi @ self.mean_phi), 0.0, 0.0])

    @property
    def relative_scale(self) -> F64:
        """(5,) what a unit of each state-relative feature moves the reward by; the stratum's ratio enters none: 1."""
        objective, part = self.objective, self.settings.novelty_share
        paid = np.array([objective.gamma * (1.0 - part), objective.gamma * part, objective.eta, 1.0])
        return np.array([1.0, *(paid / self.reward_unit)])

    @classmethod
    def of(
        cls,
        composition: pl.DataFrame,
        names: Mapping[str, tuple[str, ...]],
        mean_phi: F64,
        objective: Objective,
        settings: PolicySettings,
    ) -> Population:
        """Facts of a pool with a composition.

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
        tokens = counts["tokens"]
        total = float(tokens.sum())
        safety = counts["safety"] / _UNIT
        floors = _group_floors(codes, tokens, safety, settings) | _membership_floors(
            codes["identity_group"], tokens, 1.0 - float(safety.sum()) / total, settings
        )
        essential, least = essential_floors(codes, objective.essential)
        place = {name: i for i, name in enumerate(objective.credit.strata)} if objective.credit is not None else {}
        return cls(
            objective=objective,
            settings=settings,
            names=names,
            documents=int(counts["documents"].sum()),
            tokens=int(total),
            cells=CellTable.of(codes, tokens, objective.targets),
            stratum_share=codes["stratum"].shares(tokens),
            credit_index=np.array([place.get(name, -1) for name in names["stratum"]], dtype=np.int64),
            members=(*floors, *essential),
            floor=np.array([*floors.values(), *least], dtype=np.float64),
            mean_phi=mean_phi,
            mean_harm=1.0 - float(safety.sum()) / total,
            mean_alignment=float(counts["alignment"].sum()) / _UNIT / total,
        )

    def benign(self, pool: Pool) -> F64:
        """How much each document counts towards each floor (n, G): R_s in a group, 1 in an essential value."""
        columns = pool.axes
        counted = np.zeros((len(pool), len(self.members)))
        for g, member in enumerate(self.members):
            inside = columns[member.axis].code == member.code
            counted[inside, g] = 1.0 if member.essential else pool.safety[inside]
        return counted


def _group_floors(
    codes: Mapping[str, Codes], tokens: F64, safety: F64, settings: PolicySettings
) -> dict[Member, float]:
    """The least mean of the benign text of each group that is large enough to have a floor."""
    floors: dict[Member, float] = {}
    total = float(tokens.sum())
    for axis in settings.floor_axes:
        column = codes[axis]
        held = np.bincount(column.code, weights=safety, minlength=len(column.names))
        for code, (name, share) in enumerate(zip(column.names, column.shares(tokens), strict=True)):
            if share >= settings.floor_minimum_share and name != NO_GROUP:
                floors[Member(f"{axis}:{name}", axis, code)] = settings.group_floor * float(held[code]) / total
    return floors


def _membership_floors(groups: Codes, tokens: F64, mean_harm: float, settings: PolicySettings) -> dict[Member, float]:
    """The least share of the tokens of each identity group, however harmful a detector finds it.

    A floor on benign text by the score does not help a group whose benign text is scored as harmful: that is the error
    that it should be held against. A draw without harm and without favour would hold share / (1 - mean P(harm)).
    """
    shares = {
        code: settings.membership_floor * float(share) / (1.0 - mean_harm)
        for code, share in enumerate(groups.shares(tokens))
        if share >= settings.floor_minimum_share and groups.names[code] != NO_GROUP
    }
    too_much = max(sum(shares.values()) / _MOST_FLOORED, 1.0)
    return {
        Member(f"members:{groups.names[code]}", "identity_group", code, essential=True): share / too_much
        for code, share in shares.items()
        if share > 0.0
    }


@dataclass(frozen=True, slots=True)
class Prepared:
    """Some documents of a pool (n of them, all of it in training) measured for one objective, with G floors.

    Attributes:
        population: facts of the whole pool.
        pool: the documents.
        features, phi: (n, f) and (n, D).
        length: (n,) normalised tokens, ``n_tokens`` over the mean of the whole pool.
        gain_scale: (n,) length ** rho.
        static_gain: (n,) alpha R_s + beta R_a - reference - what earlier draws of the document take off.
        trait_credit: (n,) downstream credit for the documents' traits, which no state changes.
        cell: (n,) topic x identity group, the cells of coverage (free of toxicity, so that diversity never asks for
            toxic text); finer where targets name other axes.
        benign: (n, G) R_s for members of the group, else 0; for an essential value 1 for its documents.
        observation_names: what a policy sees.
    """

    population: Population
    pool: Pool
    features: F32
    phi: F32
    length: F64
    gain_scale: F64
    static_gain: F64
    trait_credit: F64
    cell: Rows
    benign: F64
    observation_names: tuple[str, ...]

    @property
    def objective(self) -> Objective:
        """What is maximised."""
        return self.population.objective

    @property
    def settings(self) -> PolicySettings:
        """How the process is set."""
        return self.population.settings

    @property
    def reference(self) -> float:
        """The gain that counts as zero, see ``PolicySettings.gain_reference``."""
        return self.population.reference

    @property
    def reward_unit(self) -> float:
        """Token-weighted standard deviation of the gain over the pool at the pool's own composition.

        The environment pays in this unit, so that the value network sees returns near 1 for any objective.
        """
        return self.population.reward_unit

    @property
    def cell_share(self) -> F64:
        """(k,) share of the pool's tokens in each cell."""
        return self.population.cells.share

    @property
    def cell_target(self) -> F64 | None:
        """(k,) the shares that the cells should have, or None for those of the pool."""
        return self.population.cells.target

    @property
    def stratum_share(self) -> F64:
        """Share of the pool's tokens in each stratum."""
        return self.population.stratum_share

    @property
    def credit_index(self) -> Rows:
        """For each stratum of the pool its place in the credit's strata, -1 if it has none."""
        return self.population.credit_index

    @property
    def floor(self) -> F64:
        """(G,) least mean of ``benign`` in the curated set."""
        return self.population.floor

    def scale_of(self, rows: Rows | slice, gain: F64) -> F64:
        """(m,) what gains grow by with length: rho, but 2 - rho below zero, so that short text stays the better.

        Args:
            rows: (m,) places in the pool.
            gain: (m,) of the candidates there.
        """
        scale = self.gain_scale[rows]
        if self.settings.length_exponent == 1.0:
            return scale
        return np.where(gain > 0.0, scale, self.length[rows] ** 2 / scale)

    def constraints(self, weight: F64) -> F64:
        """(n, G + 2) what may not be negative on average over the drawn tokens.

        For each floor benign - floor; for the ceiling tau - P(harm) and the same times the loss weight, so that neither
        what is drawn nor what the model is trained on exceeds it.

        Args:
            weight: (n,) of each document if it is drawn, in any unit.
        """
        room = self.settings.toxicity_ceiling - 1.0 + self.pool.safety.astype(np.float64)
        return np.column_stack([self.benign - self.floor, room, weight * room])

    @property
    def floor_names(self) -> tuple[str, ...]:
        """What each floor is of."""
        return tuple(member.name for member in self.population.members)

    @property
    def budget(self) -> float:
        """The budget in normalised tokens, at most the whole pool."""
        return self.population.budget

    def coverage(self, share: F64) -> float:
        """What coverage makes of a composition (k,): minus half its divergence from what is aimed at, at most 0.

        The gains in ``CuratedSet.worth`` are its steps: of KL(target || composition) where there is a target, and of
        KL(composition || pool) where there is none.
        """
        present = np.maximum(share, 1e-12)
        if self.cell_target is not None:
            return -0.5 * divergence(self.cell_target, present)
        return -0.5 * float(share @ np.log(present / self.cell_share))
