"""Traits of single documents that downstream credit can see besides the strata.

Strata say where a document belongs in the pool, and credit on them is blind to what differs inside one: how harmful a
document of the lowest bin is, what the detectors disagree about, how long or how plain it is. So probes tilt their
draws by a few standardised traits too, the surrogate has the batch's mean of each for a regressor, and its coefficient
is a credit that every document gets in proportion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.reward.traits import TraitScale

if TYPE_CHECKING:
    from curation_pipeline.reward.credit import DownstreamCredit

_EDGE = 1e-4


def traits_of(pool: Pool) -> dict[str, F64]:
    """Traits (n,) of a pool's documents, by name, as they are.

    They are P(harm), the detectors' log-odds, alignment, quality, log tokens and the distance to the topic's centre.
    """
    columns: dict[str, F64] = {"trait_p_harm": pool.p_harm.astype(np.float64)}
    for name, value in zip(pool.detector_names, pool.detectors.T, strict=True):
        chance = np.clip(value.astype(np.float64), _EDGE, 1.0 - _EDGE)
        columns[f"trait_detector_{name}"] = np.log(chance / (1.0 - chance))
    own = {
        "alignment": pool.alignment,
        "quality": pool.quality,
        "log_tokens": pool.log_tokens,
        "centroid_distance": pool.centroid_distance,
    }
    return columns | {f"trait_{name}": value.astype(np.float64) for name, value in own.items()}


def trait_scale(pool: Pool) -> TraitScale:
    """The constants of this pool, by which its traits and those of its parts are standardised."""
    return TraitScale.fit(traits_of(pool), pool.n_tokens)


def trait_frame(pool: Pool, scale: TraitScale) -> pl.DataFrame:
    """Standardised traits of a pool's documents, one column each."""
    return pl.DataFrame(scale.standardised(traits_of(pool)), schema=list(scale.names))


def trait_credit(pool: Pool, credit: DownstreamCredit | None) -> F64:
    """Credit (n,) of documents for their traits alone; 0 without credit or where it knows of no traits.

    Raises:
        DataError: the pool lacks a trait that the credit knows of.
    """
    if credit is None or not credit.traits.names:
        return np.zeros(len(pool))
    return np.asarray(credit.documents(traits_of(pool)), dtype=np.float64)
