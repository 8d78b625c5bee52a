"""What people see of the probes: the credit of each stratum, and how well left-out probes are predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import percentiles, resample
from curation_pipeline.credit.mixtures import factors
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import aligned_shares, comparable, fit_credit, recorded_traits
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.seeds import generator

_RESAMPLES = 1_000
_SCHEMA = {"probe": pl.Utf8, "age": pl.Int64, "measured": pl.Float64, "predicted": pl.Float64, "weight": pl.Float64}


@dataclass(frozen=True, slots=True)
class CreditSection:
    """All that a page about an iteration's probes needs.

    Attributes:
        strata: stratum, topic, toxicity_bin, identity_group, credit (in [-2.5, 2.5], without what documents have
            for their traits) and share (of the tokens that it was fitted at), highest credit first.
        probes: probe, age (iterations since it ran), measured and predicted performance, both minus the mean of the
            other probes of the same base, the prediction from a fit without this probe, and weight (in the fit); empty
            where there are too few.
        r2: leave-one-out R2 that scales the credit.
        r2_refitted: of ``probes``, whose fits choose their own penalty; None where there are too few.
        interval: its 95% interval from resampled probes.
        metric: what the performance is, in words.
    """

    strata: pl.DataFrame
    probes: pl.DataFrame
    r2: float
    r2_refitted: float | None
    interval: tuple[float, float] | None
    metric: str


def credit_section(lake: Lake, probes: Manifest) -> CreditSection:
    """Read an iteration's probes and judge their fit.

    Args:
        lake: holds them.
        probes: an artefact of the table ``probes``.
    """
    credit = DownstreamCredit.from_json(lake.json(probes, "credit"))
    names = [factors(stratum) for stratum in credit.strata]
    strata = pl.DataFrame(
        {
            "stratum": credit.strata,
            **{axis: [name[i] for name in names] for i, axis in enumerate(("topic", "toxicity_bin", "identity_group"))},
            "credit": credit.at(),
            "share": credit.composition,
        }
    ).sort("credit", "stratum", descending=[True, False])
    # Inputs name the earlier probes from the first iteration to the last.
    earlier = [lake.get(identity) for identity in probes.inputs if identity.startswith(f"{probes.table}-")]
    every = [probes, *reversed(earlier)]
    frames = [lake.frame(manifest) for manifest in every]
    ages = np.concatenate([np.full(frame.height, float(age)) for age, frame in enumerate(frames)])
    settings = CreditSettings.model_validate(probes.parameters["credit"])
    outcomes, ages = comparable(pl.concat(frames, how="diagonal_relaxed"), ages, credit.traits.names)
    left_out = leave_one_out(outcomes, ages, credit, settings)
    r2, interval = _r2(left_out, probes.seed)
    return CreditSection(strata, left_out, credit.r2, r2, interval, credit.metric)


def leave_one_out(
    outcomes: pl.DataFrame, ages: np.ndarray, credit: DownstreamCredit, settings: CreditSettings
) -> pl.DataFrame:
    """Predict every probe from a fit to the others.

    Args:
        outcomes: the table of all probes, as ``fit_credit`` takes it.
        ages: (probes,) iterations since each was trained.
        credit: of the fit to all of them.
        settings: of the fit.

    Returns:
        The columns of ``CreditSection.probes``; probes that are alone on their base are left out.
    """
    recent = ages <= settings.max_age
    outcomes, ages = outcomes.filter(pl.Series(recent, dtype=pl.Boolean)), ages[recent]
    rows: list[tuple[str, int, float, float, float]] = []
    if outcomes.height <= settings.min_probes:
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    performance = outcomes["performance"].to_numpy()
    weight = settings.decay**ages
    bases = np.array(outcomes["base"].to_list())
    shares, traits = aligned_shares(outcomes, credit.strata), recorded_traits(outcomes, credit.traits.names)
    for i in range(outcomes.height):
        others = np.arange(outcomes.height) != i
        same = others & (bases == bases[i])
        if not same.any():
            continue
        kept = outcomes.filter(pl.Series(others))
        fit = fit_credit(kept, credit.strata, credit.composition, ages[others], settings, traits=credit.traits)
        said = shares @ fit.share + np.log(shares + fit.eps) @ fit.coverage
        # A fit to too few probes has no coefficients of traits.
        said += traits @ fit.slope if fit.traits.names else 0.0
        measured = performance[i] - np.average(performance[same], weights=weight[same])
        predicted = said[i] - np.average(said[same], weights=weight[same])
        rows.append((outcomes["probe"][i], int(ages[i]), float(measured), float(predicted), float(weight[i])))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _r2(left_out: pl.DataFrame, seed: int) -> tuple[float | None, tuple[float, float] | None]:
    if left_out.height < 3:
        return None, None
    measured, predicted, weight = (left_out[name].to_numpy() for name in ("measured", "predicted", "weight"))
    lost, total = weight * (measured - predicted) ** 2, weight * measured**2
    if total.sum() < 1e-18:
        return None, None
    r2, draws = resample(
        lambda lost, total: float(1.0 - lost.sum() / max(total.sum(), 1e-18)),
        (lost, total),
        generator(seed, "credit report"),
        _RESAMPLES,
    )
    low, high = percentiles(draws)
    return r2, (float(low), float(high))
