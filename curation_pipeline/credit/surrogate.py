"""From probe outcomes to credit: a small surrogate of the downstream score over the composition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import FAMILIES, factors
from curation_pipeline.credit.ridge import bayesian_ridge
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.errors import DataError
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.reward.traits import TraitScale


def fit_credit(
    outcomes: pl.DataFrame,
    strata: tuple[str, ...],
    composition: np.ndarray,
    ages: np.ndarray,
    settings: CreditSettings,
    reference: np.ndarray | None = None,
    traits: TraitScale | None = None,
    documents: np.ndarray | None = None,
    present: np.ndarray | None = None,
) -> DownstreamCredit:
    """Fit P(q) = mu + sum_k share_k q_k + sum_k coverage_k log(q_k + eps) to probe outcomes.

    A dozen probes cannot carry a coefficient for each topic x toxicity bin x identity group. The features are the main
    effects: the token share of every topic, every bin and every group, and for every topic the log coverage
    sum_{k in topic} r_k log(q_k + eps), r the pool's shares within the topic. A stratum's coefficient is the sum of
    its families' effects. Each family is brought to a total variance of 1 before the fit, since one prior is shared.
    Rows of age a have the weight decay^a, and each base has its own intercept, so that a change of the base is not
    read as an effect of the mixture.

    Args:
        outcomes: columns base, strata, shares, performance (see `probes.with_performance`), one row a probe.
        strata: the present pool's k strata, the order of the result.
        composition: (k,) shares at which the credit is first wanted.
        ages: (probes,) iterations since each probe was trained, 0 for the newest.
        settings: decay, eps and the least number of probes.
        reference: (k,) shares of the whole pool, which weigh the strata inside a topic; None means `composition`.
        traits: to credit as well; the outcomes then have columns `traits` (names) and `trait_means` (of what was
            drawn, standardised). One more block of features.
        documents: (n, f) standardised traits of the pool's documents, for the unit of the credit; None where only
            predictions are wanted.
        present: (n,) tokens of each document in the batch that the credit is wanted for; None means equal.

    Returns:
        The credit; `DownstreamCredit.none` when there are too few probes.

    Raises:
        DataError: when ages or composition have the wrong length, or a performance is not finite.
    """
    if ages.shape != (outcomes.height,) or composition.shape != (len(strata),):
        raise DataError(
            f"{outcomes.height} probes with ages {ages.shape}; {len(strata)} strata, got {composition.shape}"
        )
    recent = ages <= settings.max_age
    outcomes, ages = outcomes.filter(pl.Series(recent, dtype=pl.Boolean)), ages[recent]
    if outcomes.height < settings.min_probes:
        return DownstreamCredit.none(strata)
    y = outcomes["performance"].to_numpy()
    if not np.isfinite(y).all():
        raise DataError("a probe's performance is not finite; drop the probe or train it again")
    shares = aligned_shares(outcomes, strata)
    pool = composition if reference is None else reference
    features, back_share, back_coverage = _features(shares, strata, pool, settings.eps)
    bases = outcomes["base"].to_list()
    codes = {name: code for code, name in enumerate(sorted(set(bases)))}
    group = np.array([codes[name] for name in bases], dtype=np.int64)
    traits = traits or TraitScale()
    means = recorded_traits(outcomes, traits.names)
    spread = np.where(means.std(axis=0) > 1e-9, means.std(axis=0), np.inf)
    fit = bayesian_ridge(np.hstack([features, means / spread]), y, settings.decay ** ages.astype(np.float64), group)
    strata_part, slope = fit.coefficients[: features.shape[1]], fit.coefficients[features.shape[1] :] / spread
    return DownstreamCredit(
        strata=strata,
        share=back_share.T @ strata_part,
        coverage=back_coverage.T @ strata_part,
        composition=composition,
        r2=float(np.clip(fit.r2, 0.0, 1.0)),
        eps=settings.eps,
        n_probes=outcomes.height,
        metric="P = (S + C) / 2 by likelihood on held-out text of role credit",
        traits=traits,
        slope=slope,
        trait_spread=0.0 if documents is None else _deviation(documents @ slope, present),
    )


def moved(last: DownstreamCredit | None, fitted: DownstreamCredit, step: float) -> DownstreamCredit:
    """The credit to use after a fit: `step` of it, the rest of the last iteration's, both in one unit.

    A credit that is followed in full moves the batch past the place where it was true and is turned round by the next
    probes; on the synthetic pool P then swings by several hundredths from iteration to iteration.
    """
    if last is None or last.n_probes == 0 or fitted.n_probes == 0 or last.traits.names != fitted.traits.names:
        return fitted
    old, new = last.indexed(fitted.strata).unit(), fitted.unit()
    return replace(
        new,
        share=old.share + step * (new.share - old.share),
        coverage=old.coverage + step * (new.coverage - old.coverage),
        slope=old.slope + step * (new.slope - old.slope),
        trait_spread=old.trait_spread + step * (new.trait_spread - old.trait_spread),
    )


def recorded_traits(outcomes: pl.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """Means of standardised traits over what each probe drew.

    Args:
        outcomes: columns traits (names) and trait_means, where there are names.
        names: f traits.

    Returns:
        float64 (probes, f).

    Raises:
        DataError: a probe lacks a trait.
    """
    out = np.zeros((outcomes.height, len(names)))
    if names:
        for row, (given, values) in enumerate(outcomes.select("traits", "trait_means").iter_rows()):
            found = dict(zip(given, values, strict=True))
            absent = [name for name in names if name not in found]
            if absent:
                raise DataError(f"probes lack the traits {', '.join(absent)}; drop those trained before they were kept")
            out[row] = [found[name] for name in names]
    return out


def comparable(outcomes: pl.DataFrame, ages: np.ndarray, traits: tuple[str, ...]) -> tuple[pl.DataFrame, np.ndarray]:
    """Those outcomes that record all traits of a fit, with their ages.

    Probes from before traits were recorded, or under other detectors, cannot say where they stood.

    Args:
        outcomes: the probes' table; ``traits`` is null or missing in those from before.
        ages: (probes,) iterations since each.
        traits: of the fit.
    """
    if not traits:
        return outcomes, ages
    if "traits" not in outcomes.columns:
        return outcomes.clear(), ages[:0]
    known = pl.all_horizontal(pl.col("traits").list.contains(name).fill_null(False) for name in traits)
    kept = outcomes.select(known.alias("known"))["known"]
    return outcomes.filter(kept), ages[kept.to_numpy()]


def _deviation(value: np.ndarray, mass: np.ndarray | None) -> float:
    """Standard deviation under `mass`, or under equal mass."""
    share = np.full(len(value), 1.0 / len(value)) if mass is None else mass / mass.sum()
    return float(np.sqrt(share @ (value - share @ value) ** 2))


def aligned_shares(outcomes: pl.DataFrame, strata: tuple[str, ...]) -> np.ndarray:
    """(probes, k) shares in the order of `strata`; tokens of strata that are gone are left out."""
    place = {name: index for index, name in enumerate(strata)}
    out = np.zeros((outcomes.height, len(strata)))
    for row, (names, values) in enumerate(outcomes.select("strata", "shares").iter_rows()):
        for name, value in zip(names, values, strict=True):
            if name in place:
                out[row, place[name]] = value
    return out


def _features(
    shares: np.ndarray, strata: tuple[str, ...], pool: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled features (n, p) and the (p, k) matrices that turn their coefficients into those of the strata."""
    names = [factors(stratum) for stratum in strata]
    log_shares = np.log(shares + eps)
    blocks: list[np.ndarray] = []
    share_maps: list[np.ndarray] = []
    coverage_maps: list[np.ndarray] = []
    for family in range(len(FAMILIES)):
        levels = sorted({name[family] for name in names})
        member = np.array([[float(name[family] == level) for name in names] for level in levels])
        scale = _spread(shares @ member.T)
        blocks.append(shares @ member.T / scale)
        share_maps.append(member / scale)
        coverage_maps.append(np.zeros_like(member))
        if FAMILIES[family] == "topic":
            within = member * pool
            within /= np.maximum(within.sum(axis=1, keepdims=True), 1e-12)
            scale = _spread(log_shares @ within.T)
            blocks.append(log_shares @ within.T / scale)
            share_maps.append(np.zeros_like(within))
            coverage_maps.append(within / scale)
    return np.hstack(blocks), np.vstack(share_maps), np.vstack(coverage_maps)


def _spread(block: np.ndarray) -> float:
    """Square root of a family's total variance; 1 where it does not vary."""
    total = float(block.var(axis=0).sum())
    return float(np.sqrt(total)) if total > 1e-18 else 1.0
