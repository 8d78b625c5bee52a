"""One model's evaluation as a comparison needs it: its figures, and the items behind them where they were kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Draws, Part, paired_draws, unpaired_draws
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.composite import metric_value
from curation_pipeline.experiment.comparison import harmful_prompts

_WIDTH = NormalDist().inv_cdf(0.975)
_OTHER = "other"


@dataclass(frozen=True, slots=True, eq=False)
class ModelEvaluation:
    """An evaluation of one model.

    Attributes:
        metrics: the metrics table.
        items: the frame of ``rows.items_frame``; None where it was not kept.
        generations: prompt_id and score of every continuation; None where there are none.
        items_from: says which items, prompts and seed were used; evaluations with equal values are paired.
    """

    metrics: pl.DataFrame
    items: pl.DataFrame | None = None
    generations: pl.DataFrame | None = None
    items_from: str = ""


def draws_of(
    ours: Sequence[ModelEvaluation],
    theirs: Sequence[ModelEvaluation],
    benchmark: str,
    metric: str,
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Draws, Draws, bool, int]:
    """Resamples of a metric in two arms, paired over items wherever both have the same ones.

    Args:
        ours: evaluations of one arm, one a seed.
        theirs: of the other.
        benchmark: of the metrics table.
        metric: of the metrics table.
        rng: source of the resamples.
        resamples: how many.

    Returns:
        Both arms, whether they are paired, and the number of items.

    Raises:
        DataError: an arm has no such metric, or neither items nor an interval for it.
    """
    if len({found.items_from for found in (*ours, *theirs)}) == 1:
        first, second = arm_parts(ours, benchmark, metric), arm_parts(theirs, benchmark, metric)
        if first is not None and second is not None:
            return *paired_draws(first, second, rng, resamples), True, sum(p.denominators.size for p in first)
    apart = [_unpaired(arm, benchmark, metric, rng, resamples) for arm in (ours, theirs)]
    n = _row(ours[0], benchmark, metric)["n"]
    return apart[0], apart[1], False, int(n)


def arm_parts(evaluations: Sequence[ModelEvaluation], benchmark: str, metric: str) -> list[Part] | None:
    """A metric's groups of items over the seeds of an arm; None where they were not kept or do not give its value."""
    found = [_parts(evaluation, benchmark, metric) for evaluation in evaluations]
    known = [parts for parts in found if parts is not None]
    if len(known) < len(found) or len({len(parts) for parts in known}) > 1:
        return None
    out: list[Part] = []
    for same in zip(*known, strict=True):
        if any(not np.array_equal(part.denominators, same[0].denominators) for part in same):
            return None
        out.append(Part(same[0].coefficient, np.concatenate([p.numerators for p in same]), same[0].denominators))
    return out


def _parts(found: ModelEvaluation, benchmark: str, metric: str) -> list[Part] | None:
    if (benchmark, metric) == ("heldout", "toxic_log_odds"):
        parts = _log_odds(found)
    else:
        parts = _mean(found, benchmark, metric, 1.0)
    if not parts and metric == "toxicity_probability" and found.generations is not None:
        harmful = harmful_prompts(found.generations)["harmful"].to_numpy().astype(np.float64)
        parts = [Part(1.0, harmful[None], np.ones_like(harmful))]
    if not parts:
        return None
    # Groups that do not add up to the reported value would test something else than what is reported.
    value = sum(part.coefficient * part.numerators.sum() / part.denominators.sum() for part in parts)
    return parts if math.isclose(value, metric_value(found.metrics, benchmark, metric), abs_tol=1e-9) else None


def _mean(found: ModelEvaluation, benchmark: str, metric: str, coefficient: float) -> list[Part]:
    """The groups of a macro mean."""
    if found.items is None:
        return []
    rows = found.items.filter((pl.col("benchmark") == benchmark) & (pl.col("metric") == metric)).sort("part", "place")
    groups = rows.partition_by("part", maintain_order=True)
    return [
        Part(coefficient / len(groups), group["numerator"].to_numpy()[None], group["denominator"].to_numpy())
        for group in groups
    ]


def _log_odds(found: ModelEvaluation) -> list[Part]:
    """Toxic log-odds, as in ``benchmarks.heldout.heldout_metrics``: inside sources that have benign and toxic text."""
    if found.items is None:
        return []
    metrics = set(found.items.filter(pl.col("benchmark") == "heldout")["metric"].to_list())
    names = ("bits_per_byte", "toxic_bits_per_byte")
    clean, toxic = ({m.partition("/")[2] for m in metrics if m.startswith(f"{name}/")} for name in names)
    both = sorted((clean & toxic) - {_OTHER})
    if not both:
        return [
            *_mean(found, "heldout", names[0], math.log(2)),
            *_mean(found, "heldout", names[1], -math.log(2)),
        ]
    each = math.log(2) / len(both)
    return [
        part
        for source in both
        for name, sign in zip(names, (1.0, -1.0), strict=True)
        for part in _mean(found, "heldout", f"{name}/{source}", sign * each)
    ]


def _row(found: ModelEvaluation, benchmark: str, metric: str) -> dict[str, float | int]:
    rows = found.metrics.filter((pl.col("benchmark") == benchmark) & (pl.col("metric") == metric))
    if rows.height != 1 or rows["ci_low"][0] is None:
        raise DataError(
            f"an evaluation has no {benchmark}/{metric} with an interval; evaluate every arm with one profile"
        )
    return rows.row(0, named=True)


def _unpaired(
    arm: Sequence[ModelEvaluation], benchmark: str, metric: str, rng: np.random.Generator, resamples: int
) -> Draws:
    rows = [_row(found, benchmark, metric) for found in arm]
    errors = [(row["ci_high"] - row["ci_low"]) / (2 * _WIDTH) for row in rows]
    return unpaired_draws([row["value"] for row in rows], errors, rng, resamples)
