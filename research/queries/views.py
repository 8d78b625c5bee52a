"""Documents as they look after some of the questions, so that the machinery for whole pools works on partial knowledge.

A view is a bit mask: bit k is set where question k was answered. What a document's view hides never enters its row: it
is replaced by the belief, its toxicity bin and stratum follow the belief, and costly detectors are not a number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from curation_pipeline.policy.features import Normaliser
from curation_pipeline.policy.objective import Objective
from curation_pipeline.policy.pool import F64, Pool, Rows
from curation_pipeline.policy.problem import SelectionProblem, prepare
from curation_pipeline.policy.settings import PolicySettings
from research.queries.belief import TARGETS, Posterior, cross_fitted
from research.queries.settings import QuerySettings

BINS = (0.05, 0.2, 0.5)
"""Edges of the toxicity bins of believed P(harm)."""


@dataclass(frozen=True, slots=True)
class Views:
    """Known documents in every view, as one pool of 2**K * n rows: row ``view * n + document``.

    Attributes:
        problem: the pool of all rows; its budget is the same share of tokens as that of the objective.
        normaliser: the feature constants behind it.
        documents: n.
        spread: (2**K * n, 2) standard deviation of the belief about P(harm) and alignment.
        cost: (K,) cost of each question.
        settings: of the questions.
    """

    problem: SelectionProblem
    normaliser: Normaliser
    documents: int
    spread: F64
    cost: F64
    settings: QuerySettings

    @property
    def full(self) -> int:
        """The view in which everything is known."""
        return int(2 ** len(self.cost) - 1)


def believed_frame(frame: pl.DataFrame, view: Rows, posterior: Posterior, settings: QuerySettings) -> pl.DataFrame:
    """The pool as it looks to somebody with some answers.

    Args:
        frame: n documents in the form of the ``pool`` contract; hidden values may be anything, null included.
        view: (n,) answers of each document.
        posterior: belief about each document in its view.
        settings: the questions.

    Returns:
        The frame with hidden values replaced and the numeric columns ``known_<question>`` and ``spread_<target>``
        added; a pool made of it has them among its detectors, so that a policy sees them.
    """
    hidden = {}
    for k, question in enumerate(settings.questions):
        answered = (view >> k & 1).astype(bool)
        hidden[f"known_{question.name}"] = pl.Series(answered).cast(pl.Float32)
        for column in question.columns:
            if column not in TARGETS:
                values = frame[column].cast(pl.Float32).to_numpy()
                hidden[column] = pl.Series(np.where(answered, values, np.float32(np.nan)))
    for j, name in enumerate(TARGETS):
        hidden[name] = pl.Series(np.clip(posterior.mean[:, j], 0.0, 1.0).astype(np.float32))
        hidden[f"spread_{name}"] = pl.Series(posterior.spread[:, j].astype(np.float32))
    bins = np.digitize(hidden["p_harm"].to_numpy(), BINS).astype(np.int8)
    believed = frame.with_columns(toxicity_bin=pl.Series(bins), **hidden)
    stratum = pl.format("t{}|b{}|{}", pl.col("topic"), pl.col("toxicity_bin"), pl.col("identity_group"))
    return believed.with_columns(stratum=stratum)


def training_views(
    known: pl.DataFrame,
    objective: Objective,
    pool_tokens: int,
    settings: PolicySettings,
    queries: QuerySettings,
    seed: int,
    normaliser: Normaliser | None = None,
) -> Views:
    """All views of the documents whose scores are known; hidden scores are imputed as if the document were new.

    Args:
        known: documents whose scores are all known.
        objective: what is maximised; its budget is for the whole pool.
        pool_tokens: tokens of the whole pool.
        settings: of the decision process.
        queries: the questions.
        seed: of the beliefs and of the random features.
        normaliser: feature constants of a parent, else fitted on the views.
    """
    n = known.height
    frames, spreads = [], []
    full = 2 ** len(queries.questions) - 1
    for code in range(full + 1):
        if code == full:
            posterior = Posterior(known.select(TARGETS).cast(pl.Float64).to_numpy(), np.zeros((n, 2)))
        else:
            posterior = cross_fitted(known, code, queries, seed)
        frame = believed_frame(known, np.full(n, code), posterior, queries)
        spreads.append(posterior.spread)
        # A pool refuses repeated ids; those of a view are never drawn from.
        frames.append(frame.with_columns(doc_id=pl.format("{}.{}", pl.col("doc_id"), pl.lit(code))))
    pool = Pool.from_frame(pl.concat(frames))
    share = min(objective.budget_tokens / pool_tokens, 1.0)
    goal = replace(objective, budget_tokens=max(int(share * pool.total_tokens), 1))
    constants = normaliser or Normaliser.fit(pool, settings.random_features, settings.novelty_bandwidth, seed)
    cost = np.array([question.cost for question in queries.questions])
    return Views(prepare(pool, goal, constants, settings), constants, n, np.concatenate(spreads), cost, queries)
