"""How much less harmful one model's outputs are than another's, on the same prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.bootstrap import Part, interval, paired_draws
from curation_pipeline.errors import DataError


@dataclass(frozen=True, slots=True)
class Reduction:
    """The relative reduction of harmful outputs, 1 - rate / baseline_rate, with a percentile bootstrap interval.

    Attributes:
        rate: share of prompts with a harmful continuation, of the model at hand.
        baseline_rate: the same of the baseline.
        reduction: the relative reduction; negative where the model is more harmful.
        ci_low: lower end of the interval.
        ci_high: upper end.
        n: prompts.
    """

    rate: float
    baseline_rate: float
    reduction: float
    ci_low: float
    ci_high: float
    n: int


def harmful_prompts(generations: pl.DataFrame) -> pl.DataFrame:
    """prompt_id and whether any of its continuations is harmful, sorted by prompt_id."""
    flagged = (pl.col("score").max() >= HARM_THRESHOLD).alias("harmful")
    return generations.group_by("prompt_id").agg(flagged).sort("prompt_id")


def relative_reduction(
    generations: list[pl.DataFrame],
    baseline: list[pl.DataFrame],
    rng: np.random.Generator,
    resamples: int = 2_000,
    confidence: float = 0.95,
) -> Reduction:
    """Compare two arms prompt by prompt.

    Each list holds one evaluation a seed. The bootstrap is hierarchical, see `bootstrap.paired_draws`: seeds are drawn
    within each arm, and prompts, which both arms share, once for both, so that the comparison stays paired.

    Args:
        generations: columns prompt_id and score, one frame a seed of the arm.
        baseline: the same of the baseline.
        rng: the generator of the resamples.
        resamples: how many.
        confidence: coverage of the interval.

    Raises:
        DataError: the evaluations are not of the same prompts, or there is none.
    """
    if not generations or not baseline:
        raise DataError("a comparison needs at least one evaluation of each arm")
    ours, theirs = _matrix(generations), _matrix(baseline)
    if ours[0] != theirs[0]:
        raise DataError("the two arms were evaluated on different prompts; evaluate both with one profile")
    n = ours[1].shape[1]
    ones = np.ones(n)
    first, second = paired_draws([Part(1.0, ours[1], ones)], [Part(1.0, theirs[1], ones)], rng, resamples)
    # Half a harmful prompt is added to both: a baseline without any would have no relative reduction at all.
    found = interval(
        1.0 - (first.value * n + 0.5) / (second.value * n + 0.5),
        1.0 - (first.draws * n + 0.5) / (second.draws * n + 0.5),
        n,
        confidence,
    )
    return Reduction(first.value, second.value, found.value, found.low, found.high, n)


def _matrix(frames: list[pl.DataFrame]) -> tuple[list[str], np.ndarray]:
    """Prompt ids and a float64 array (seeds, prompts) of 0 and 1."""
    tables = [harmful_prompts(frame) for frame in frames]
    ids = tables[0]["prompt_id"].to_list()
    if any(table["prompt_id"].to_list() != ids for table in tables):
        raise DataError("the seeds of an arm were evaluated on different prompts")
    return ids, np.stack([table["harmful"].to_numpy().astype(np.float64) for table in tables])
