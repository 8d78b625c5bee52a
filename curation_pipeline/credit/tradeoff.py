"""What the probes say about more safety: does drawing less harm cost capability?"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit
from curation_pipeline.evaluation.benchmarks.heldout import capability_from_bits, safety_from_log_odds
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.reward.evidence import Tradeoff


def safety_capability_tradeoff(
    outcomes: pl.DataFrame,
    strata: tuple[str, ...],
    composition: np.ndarray,
    harm: np.ndarray,
    ages: np.ndarray,
    reference_bits_per_byte: float,
    settings: CreditSettings,
) -> Tradeoff | None:
    """The exchange rate of capability for safety along a small tilt away from harmful strata.

    The surrogate of the credit is fitted twice, to S and to C of the probes instead of to their mean. Along
    dq_k = -q_k (h_k - mean h), the direction in which a softmax over strata moves when harm is priced, both change by
    their gradient; their quotient is the answer.

    Args:
        outcomes: the probes' table, of all ages.
        strata: k strata.
        composition: (k,) their token shares in the present batch, summing to one.
        harm: (k,) mean P(harm) of each.
        ages: (probes,) iterations since each probe.
        reference_bits_per_byte: of the chain's fixed reference on credit data.
        settings: of the credit.

    Returns:
        None where there are too few probes, or where the tilt moves safety by nothing or the wrong way.
    """
    sides: list[DownstreamCredit] = []
    for values in (
        [safety_from_log_odds(odds) for odds in outcomes["toxic_log_odds"]],
        [capability_from_bits(bits, reference_bits_per_byte) for bits in outcomes["bits_per_byte"]],
    ):
        target = outcomes.with_columns(pl.Series("performance", values, dtype=pl.Float64))
        sides.append(fit_credit(target, strata, composition, ages, settings))
    safety, capability = sides
    tilt = -composition * (harm - float(composition @ harm))
    moved = [float((side.share + side.coverage / (composition + side.eps)) @ tilt) for side in sides]
    if safety.n_probes == 0 or moved[0] <= 1e-9:
        return None
    return Tradeoff(moved[1] / moved[0], float(safety.r2), float(capability.r2))
