"""Data selection with importance resampling (DSIR; Xie et al. 2023, arXiv:2302.03169).

A bag of features is modelled twice, as it is in the pool and as it is in a target set; the log importance weight of a
document is the sum over its features of log p_target - log p_pool, and a batch is a sample without replacement in
proportion to the importance weights, by Gumbel noise. The features are n-grams of words and marks hashed into buckets;
where a pool has no texts, they are the dimensions of its sentence vectors, each cut into bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.choosing import best, shuffled
from curation_pipeline.selection.inputs import Inputs, Texts
from curation_pipeline.selection.settings import BaselineSettings
from curation_pipeline.selection.word_list import rolling
from curation_pipeline.selection.wordpunct import token_hashes

CHUNK = 2048
"""Texts that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Dsir:
    """Importance resampling towards clean text: held-out texts if given, else the pool's clean documents of a domain.

    It knows no harm and no topic: what it prefers is what its target is made of.
    """

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    inputs: Inputs = field(default_factory=Inputs)
    name: str = "dsir"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the documents of the largest log importance weight plus Gumbel noise.

        Raises:
            DataError: there is nothing to take for the target.
        """
        weight = self.log_weights(pool) / self.settings.dsir_temperature
        noise = -np.log(-np.log(shuffled(pool, seed, "dsir")))
        return best(pool, weight + noise, budget_tokens, "unlike the target, or bad luck")

    def log_weights(self, pool: Pool) -> F64:
        """Log importance weight (n,) of each document, before temperature and noise."""
        if self.inputs.texts is not None:
            return text_log_weights(pool.doc_id, self.inputs.texts, self._target(pool), self.settings)
        return _vector_log_weights(pool, self._clean(pool), self.settings.dsir_bins, self.settings.dsir_smoothing)

    def _clean(self, pool: Pool) -> np.ndarray:
        wanted = self.settings.dsir_target_domains or pool.domain.names
        domains = [i for i, name in enumerate(pool.domain.names) if name in wanted]
        clean = np.isin(pool.domain.code, domains) & (pool.p_harm <= self.settings.toxicity_threshold)
        if not clean.any():
            raise DataError(
                f"dsir has no target: no document of the domains {', '.join(wanted)} has "
                f"P(harm) <= {self.settings.toxicity_threshold}; the pool's domains are {', '.join(pool.domain.names)}"
            )
        return clean

    def _target(self, pool: Pool) -> list[pl.Series]:
        if self.inputs.target is not None:
            if not len(self.inputs.target):
                raise DataError("dsir was given a target without texts")
            return [self.inputs.target]
        assert self.inputs.texts is not None
        return [texts for _, texts in _chunks(pool.doc_id.filter(pl.Series(self._clean(pool))), self.inputs.texts)]


def text_log_weights(doc_ids: pl.Series, texts: Texts, target: list[pl.Series], settings: BaselineSettings) -> F64:
    """Log importance weight (n,) of each text, in two passes over them: counts, then sums.

    Args:
        doc_ids: (n,) of the pool.
        texts: reads some of them.
        target: texts that the target distribution is fitted on.
        settings: n-grams, buckets, smoothing; shorter texts than the least get a weight below all others.
    """
    buckets, n = settings.dsir_buckets, settings.dsir_ngrams
    wanted = np.zeros(buckets, np.int64)
    for part in target:
        wanted += np.bincount(hashed_ngrams(part, n, buckets)[0], minlength=buckets)
    there = np.zeros(buckets, np.int64)
    for _, part in _chunks(doc_ids, texts):
        there += np.bincount(hashed_ngrams(part, n, buckets)[0], minlength=buckets)
    ratio = log_ratio(wanted, there, settings.dsir_smoothing)
    out = np.empty(len(doc_ids))
    for start, part in _chunks(doc_ids, texts):
        bucket, text, n_tokens = hashed_ngrams(part, n, buckets)
        weight = np.bincount(text, weights=ratio[bucket], minlength=len(part))
        out[start : start + len(part)] = np.where(n_tokens >= settings.dsir_minimum_tokens, weight, -1e12)
    return out


def hashed_ngrams(texts: pl.Series, n: int, buckets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every n-gram of 1 to n tokens of m texts.

    Returns:
        The bucket of each n-gram in [0, buckets), the text it stands in, and the number of tokens (m,) of each text.
    """
    hashes, offsets = token_hashes(texts)
    n_tokens = np.diff(offsets)
    text = np.repeat(np.arange(len(texts)), n_tokens)
    bucket, owner = [], []
    for length in range(1, n + 1):
        runs = rolling(hashes, length)
        inside = text[: len(runs)] == text[length - 1 : length - 1 + len(runs)]
        bucket.append((runs[inside] % np.uint64(buckets)).astype(np.int64))
        owner.append(text[: len(runs)][inside])
    return np.concatenate(bucket), np.concatenate(owner), n_tokens


def log_ratio(target: np.ndarray, pool: np.ndarray, smoothing: float) -> F64:
    """The log of p_target / p_pool of each feature, given how often each was counted."""
    shares = [counts / max(counts.sum(), 1) + smoothing for counts in (target, pool)]
    return np.asarray(np.log(shares[0]) - np.log(shares[1]))


def _vector_log_weights(pool: Pool, target: np.ndarray, bins: int, smoothing: float) -> F64:
    total = np.zeros(len(pool))
    for column in pool.vectors.T:
        edges = np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1])
        place = np.searchsorted(edges, column, side="right")
        wanted = np.bincount(place[target], minlength=bins)
        total += log_ratio(wanted, np.bincount(place, minlength=bins), smoothing)[place]
    return total


def _chunks(doc_ids: pl.Series, texts: Texts) -> Iterator[tuple[int, pl.Series]]:
    for start in range(0, len(doc_ids), CHUNK):
        yield start, texts(doc_ids[start : start + CHUNK])
