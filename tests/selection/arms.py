"""What baselines need beside a synthetic pool, and a draw with one of them."""

from __future__ import annotations

import numpy as np

from curation_pipeline.policy.pool import Pool
from curation_pipeline.reward.credit import DownstreamCredit
from curation_pipeline.selection.baselines import baseline
from curation_pipeline.selection.draw import Drawn, draw
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.settings import BaselineSettings
from research.synthetic_pool import SyntheticPool

QUICK = BaselineSettings(
    mixtures=128,
    mixtures_averaged=8,
    search_evaluations=120,
    search_population=30,
    search_documents=512,
    bandit_rounds=500,
    dsir_target_domains=(),
)
"""Searches of a fraction of a second."""


def credit_of(pool: Pool) -> DownstreamCredit:
    """A surrogate that dislikes the harmful bins and wants every topic covered."""
    names = pool.stratum.names
    share = np.array([-float(name.split("|")[1][1:]) for name in names])
    composition = pool.stratum.shares(pool.n_tokens.astype(np.float64))
    return DownstreamCredit(names, share, 0.02 * composition, composition, r2=0.8)


def flags_of(pool: Pool) -> dict[str, np.ndarray]:
    """A word list that sees what the lexical detector sees, and rules of thumb that see length and quality."""
    lexical = pool.detectors[:, pool.detector_names.index("lexical")]
    return {
        "gopher_quality": pool.quality >= np.quantile(pool.quality, 0.1),
        "gopher_repetition": np.ones(len(pool), np.bool_),
        "c4": pool.n_tokens >= 15,
        "word_list": lexical <= 0.5,
    }


def inputs_of(pool: Pool) -> Inputs:
    return Inputs(flags=flags_of(pool), credit=credit_of(pool))


def drawn_by(
    name: str, pool: Pool, budget: int, settings: BaselineSettings = QUICK, seed: int = 0, inputs: Inputs | None = None
) -> Drawn:
    scores = baseline(name, settings, inputs or inputs_of(pool)).scores(pool, budget, seed)
    return draw(pool.doc_id, scores.probability, scores.weight, pool.n_tokens, budget, seed)


def value(pool: SyntheticPool, drawn: Drawn) -> float:
    return pool.truth(drawn.weight)[2]
