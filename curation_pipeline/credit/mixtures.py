"""Random mixtures over the pool's strata, and the documents that a mixture draws."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.errors import DataError
from curation_pipeline.seeds import generator, unit_hash

INCLUSION = "inclusion"
"""Column of a pool's frame that holds the inclusion probabilities of the policy that probes draw around."""

LOSS_WEIGHT = "loss_weight"
"""Column of a pool's frame that holds the policy's loss weights; probes then train with them."""

_LEAST_INCLUSION = 0.01
"""What a policy never takes is drawn like this: what is never tried can never be credited."""

FAMILIES = ("topic", "toxicity", "identity")
"""The main effects of a stratum, in the order in which its name spells them."""


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """A tilt of the pool.

    Attributes:
        name: the probe's name inside its round.
        strata: names of the pool's k strata, sorted.
        weight: float64 (k,), positive: how much likelier a document of the stratum is drawn than under uniform
            sampling, up to a common factor.
        traits: names of columns of the pool's frame that tilt too, standardised (see ``traits``).
        slope: float64 (traits,): log tilt for each unit of a trait.
    """

    name: str
    strata: tuple[str, ...]
    weight: np.ndarray
    traits: tuple[str, ...] = ()
    slope: np.ndarray = field(default_factory=lambda: np.empty(0))


def factors(stratum: str) -> tuple[str, str, str]:
    """Topic, toxicity bin and identity group of a stratum's name, ``t{topic}|b{bin}|{group}``.

    Raises:
        DataError: when the name has another form.
    """
    parts = stratum.split("|")
    if len(parts) != len(FAMILIES):
        raise DataError(f"stratum {stratum!r} is not of the form t<topic>|b<bin>|<identity group>")
    return parts[0], parts[1], parts[2]


def composition(pool: pl.DataFrame, strata: tuple[str, ...], weight: np.ndarray | None = None) -> np.ndarray:
    """Token shares of strata.

    Args:
        pool: columns stratum, n_tokens.
        strata: k names, the order of the result.
        weight: (n,) factor of each document's tokens; None means 1.

    Returns:
        float64 (k,), summing to 1 (all zero when there are no tokens).
    """
    tokens = pool["n_tokens"].to_numpy().astype(np.float64)
    if weight is not None:
        tokens = tokens * weight
    place = {name: index for index, name in enumerate(strata)}
    index = np.array([place[name] for name in pool["stratum"]], dtype=np.int64)
    totals = np.bincount(index, weights=tokens, minlength=len(strata))
    whole = totals.sum()
    return np.asarray(totals / whole if whole > 0 else totals)


def trait_means(drawn: pl.DataFrame, traits: tuple[str, ...], weight: np.ndarray) -> np.ndarray:
    """Means of traits over tokens.

    Args:
        drawn: n documents with the columns n_tokens and `traits`, standardised.
        traits: f names.
        weight: (n,) factor of each document's tokens.

    Returns:
        float64 (f,).
    """
    mass = drawn["n_tokens"].to_numpy() * weight
    return np.array([mass @ drawn[name].to_numpy() / mass.sum() for name in traits], dtype=np.float64)


def probe_mixtures(
    pool: pl.DataFrame,
    n: int,
    seed: int,
    around: np.ndarray | None = None,
    settings: CreditSettings | None = None,
    traits: tuple[str, ...] = (),
) -> list[Mixture]:
    """Random log-normal tilts: the product of one factor per topic, one per toxicity bin and one per identity group.

    They come in pairs of opposite sign, which makes linear effects cheaper to tell apart from their mean.

    Args:
        pool: the pool's table.
        n: how many.
        seed: decides the tilts.
        around: (rows of the pool,) inclusion probabilities of the current policy; the tilts multiply each stratum's
            mean of them. None tilts the pool itself, or, where the pool has a column ``inclusion``, the documents'
            own probabilities: the probes then stay as near to the policy as the tilts let them.
        settings: spreads of the tilts; None means the defaults.
        traits: standardised columns of the pool to tilt by as well.

    Raises:
        DataError: when `around` does not fit the pool or is zero everywhere.
    """
    settings = settings or CreditSettings()
    strata = tuple(sorted(pool["stratum"].unique().to_list()))
    base = np.ones(len(strata))
    if around is not None:
        if around.shape != (pool.height,) or not (around >= 0).all() or not around.sum() > 0:
            raise DataError(f"`around` must be {pool.height} inclusion probabilities of 0 or more, not all zero")
        drawn, there = composition(pool, strata, around), composition(pool, strata)
        base = drawn / np.maximum(there, 1e-12)
        # A stratum that the policy never takes keeps a little weight: what is never tried can never be credited.
        base = np.maximum(base / base.max(), 0.05)
    names = [factors(stratum) for stratum in strata]
    spreads = (settings.topic_spread, settings.toxicity_spread, settings.identity_spread)
    near = settings.local_spread if INCLUSION in pool.columns else 1.0
    mixtures = []
    for probe in range(n):
        rng = generator(seed, "mixture", probe // 2)
        sign = 1.0 if probe % 2 == 0 else -1.0
        log_weight = np.zeros(len(strata))
        for family, spread in enumerate(spreads):
            levels = sorted({name[family] for name in names})
            tilt = dict(zip(levels, near * sign * spread * rng.standard_normal(len(levels)), strict=True))
            log_weight += np.array([tilt[name[family]] for name in names])
        slope = sign * settings.trait_spread * rng.standard_normal(len(traits))
        mixtures.append(Mixture(f"probe-{probe:02d}", strata, base * np.exp(log_weight), traits, slope))
    return mixtures


def draw(pool: pl.DataFrame, mixture: Mixture, tokens: int, seed: int) -> np.ndarray:
    """Rows of the pool that a mixture draws, without replacement, until `tokens` are reached.

    An exponential race (Efraimidis and Spirakis, 2006): the documents with the smallest -log(u) / weight come first.
    u is a function of the document and the seed alone, so that probes share their random numbers and differ by their
    tilt only.

    Args:
        pool: columns doc_id, stratum, n_tokens, the mixture's traits, and ``inclusion`` where the probes draw around a
            policy's probabilities.
        mixture: the tilt.
        tokens: tokens to draw; the last document may go beyond.
        seed: the common random numbers.

    Returns:
        int64 indices of rows, in the order of the race.
    """
    place = {name: index for index, name in enumerate(mixture.strata)}
    weight = mixture.weight[np.array([place[name] for name in pool["stratum"]], dtype=np.int64)]
    if mixture.traits:
        weight = weight * np.exp(pool.select(mixture.traits).to_numpy().astype(np.float64) @ mixture.slope)
    if INCLUSION in pool.columns:
        weight = weight * np.maximum(pool[INCLUSION].to_numpy(), _LEAST_INCLUSION)
    race = -np.log(unit_hash(pool["doc_id"], seed)) / weight
    order = np.argsort(race, kind="stable")
    before = np.cumsum(pool["n_tokens"].to_numpy()[order].astype(np.int64)) - pool["n_tokens"].to_numpy()[order]
    return np.asarray(order[before < tokens], dtype=np.int64)
