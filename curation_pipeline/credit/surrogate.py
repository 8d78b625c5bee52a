"""From probe outcomes to credit: a small surrogate of the downstream score over the composition."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.credit.mixtures import FAMILIES, factors
from curation_pipeline.credit.ridge import bayesian_ridge
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.errors import DataError
from curation_pipeline.reward.credit import DownstreamCredit


def fit_credit(
    outcomes: pl.DataFrame,
    strata: tuple[str, ...],
    composition: np.ndarray,
    ages: np.ndarray,
    settings: CreditSettings,
    reference: np.ndarray | None = None,
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
    shares = _aligned(outcomes, strata)
    pool = composition if reference is None else reference
    features, back_share, back_coverage = _features(shares, strata, pool, settings.eps)
    bases = outcomes["base"].to_list()
    codes = {name: code for code, name in enumerate(sorted(set(bases)))}
    group = np.array([codes[name] for name in bases], dtype=np.int64)
    fit = bayesian_ridge(features, y, settings.decay ** ages.astype(np.float64), group)
    return DownstreamCredit(
        strata=strata,
        share=back_share.T @ fit.coefficients,
        coverage=back_coverage.T @ fit.coefficients,
        composition=composition,
        r2=float(np.clip(fit.r2, 0.0, 1.0)),
        eps=settings.eps,
        n_probes=outcomes.height,
        metric="P = (S + C) / 2 by likelihood on held-out text of role credit",
    )


def _aligned(outcomes: pl.DataFrame, strata: tuple[str, ...]) -> np.ndarray:
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
