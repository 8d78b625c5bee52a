"""Data selection with importance resampling (DSIR; Xie et al. 2023, arXiv:2302.03169).

A bag of features is modelled twice, as it is in the pool and as it is in a target set; the log importance weight of a
document is the sum over its features of log p_target - log p_pool, and a batch is a sample without replacement in
proportion to the importance weights, by Gumbel noise. The features are n-grams of words and marks hashed into buckets;
where a pool has no texts, they are the dimensions of its sentence vectors, each cut into bins.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import polars as pl
from pydantic import Field

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.wordhash import utf8
from curation_pipeline.errors import DataError
from curation_pipeline.policy.pool import F64, Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.bad_words import rolling
from curation_pipeline.selection.baseline import Baseline
from curation_pipeline.selection.baselines.filters import FilterSettings
from curation_pipeline.selection.choosing import best, shuffled
from curation_pipeline.selection.inputs import Inputs, Texts

CHUNK = 2048
"""Texts that are in memory at once."""
_SPACE, _WORD, _PUNCTUATION = range(3)
_CODE_POINTS = 0x110000


class DsirSettings(FilterSettings):
    """Of DSIR; its target is what passes the threshold."""

    dsir_ngrams: int = Field(default=2, ge=1, le=4, description="Longest n-gram that DSIR hashes.")
    dsir_buckets: int = Field(default=10_000, ge=2, le=1_000_000, description="Buckets that DSIR hashes n-grams into.")
    dsir_smoothing: float = Field(
        default=1e-8, gt=0, le=1, description="Added to the share of each bucket, as the published package does."
    )
    dsir_minimum_tokens: int = Field(
        default=0,
        ge=0,
        description="Texts of fewer words and marks are refused by DSIR; the published package has 100.",
    )
    dsir_temperature: float = Field(
        default=1.0, gt=0, description="Divides DSIR's log importance weights; 1 is importance resampling."
    )
    dsir_target_domains: tuple[str, ...] = Field(
        default=("encyclopaedia",),
        description="Domains whose clean documents are DSIR's target where no target texts are given; () is all.",
    )
    dsir_bins: int = Field(
        default=16, ge=2, le=1024, description="Bins of each dimension of the vector, DSIR's features without texts."
    )


def dsir(pool: Pool, budget_tokens: int, seed: int, settings: DsirSettings, inputs: Inputs) -> Scores:
    """1 for the documents of the largest log importance weight plus Gumbel noise.

    The target is held-out texts if given, else the pool's clean documents of some domains. It knows no harm and no
    topic: what it prefers is what its target is made of.

    Raises:
        DataError: there is nothing to take for the target.
    """
    noise = -np.log(-np.log(shuffled(pool, seed, "dsir")))
    weight = _log_weights(pool, settings, inputs) / settings.dsir_temperature
    return best(pool, weight + noise, budget_tokens, "unlike the target, or bad luck")


def _log_weights(pool: Pool, settings: DsirSettings, inputs: Inputs) -> F64:
    """Log importance weight (n,) of each document, before temperature and noise."""
    if inputs.texts is None:
        return _vector_log_weights(pool, _clean(pool, settings), settings.dsir_bins, settings.dsir_smoothing)
    if inputs.target is not None:
        if not len(inputs.target):
            raise DataError("dsir was given a target without texts")
        target = [inputs.target]
    else:
        target = [texts for _, texts in _chunks(pool.doc_id.filter(pl.Series(_clean(pool, settings))), inputs.texts)]
    return text_log_weights(pool.doc_id, inputs.texts, target, settings)


def _clean(pool: Pool, settings: DsirSettings) -> np.ndarray:
    wanted = settings.dsir_target_domains or pool.domain.names
    domains = [i for i, name in enumerate(pool.domain.names) if name in wanted]
    clean = np.isin(pool.domain.code, domains) & (pool.p_harm <= settings.toxicity_threshold)
    if not clean.any():
        raise DataError(
            f"dsir has no target: no document of the domains {', '.join(wanted)} has "
            f"P(harm) <= {settings.toxicity_threshold}; the pool's domains are {', '.join(pool.domain.names)}"
        )
    return clean


def text_log_weights(doc_ids: pl.Series, texts: Texts, target: list[pl.Series], settings: DsirSettings) -> F64:
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
        The bucket of each n-gram in [0, buckets), its text, and the number of tokens (m,) of each text.
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


def token_hashes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    r"""The hash of every token of every text: runs of word characters and runs of punctuation.

    A token is what the regular expression ``\w+|[^\w\s]+`` finds in the text in lower case, as NLTK's WordPunct
    tokeniser divides it and DSIR's published code counts. (`annotate.wordhash` drops punctuation and accents, which is
    right for finding copies; here punctuation is part of what tells one genre from another.)

    Args:
        texts: n texts; a null counts as empty.

    Returns:
        uint64 hashes of all tokens end to end, and int64 (n + 1,) offsets of the texts in them.
    """
    raw, ends = utf8(texts.cast(pl.Utf8).str.to_lowercase())
    out = np.empty(int(ends[-1] - ends[0]), dtype=np.uint64)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    if len(texts):
        _hash_tokens(raw, ends, _kinds(), out, offsets)
    return out[: offsets[-1]].copy(), offsets


@functools.cache
def _kinds() -> np.ndarray:
    """Of each code point, whether it is white space, a word character or punctuation; uint8."""
    kinds = np.full(_CODE_POINTS, _PUNCTUATION, dtype=np.uint8)
    for point in range(_CODE_POINTS):
        char = chr(point)
        if char.isalnum() or char == "_":
            kinds[point] = _WORD
        elif char.isspace():
            kinds[point] = _SPACE
    return kinds


@compiled
def _hash_tokens(raw: np.ndarray, ends: np.ndarray, kinds: np.ndarray, out: np.ndarray, offsets: np.ndarray) -> None:
    """Decode UTF-8 and hash the code points of a token by FNV-1a, mixed at its end as splitmix64 does."""
    seed = np.uint64(0x9E3779B97F4A7C15)
    prime = np.uint64(0x100000001B3)
    count = 0
    for row in range(ends.size - 1):
        at, stop = ends[row], ends[row + 1]
        value, current = seed, _SPACE
        while at <= stop:
            kind, point = _SPACE, np.uint32(0)
            if at < stop:
                point = np.uint32(raw[at])
                if point >= 0x80:
                    extra = 1 if point < 0xE0 else 2 if point < 0xF0 else 3
                    point &= np.uint32(0x3F >> extra)
                    for step in range(extra):
                        point = (point << np.uint32(6)) | np.uint32(raw[at + 1 + step] & 0x3F)
                    at += extra
                kind = kinds[point]
            at += 1
            if kind != current:
                if current != _SPACE:
                    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                    out[count] = value ^ (value >> np.uint64(31))
                    count += 1
                value, current = seed, kind
            value = (value ^ np.uint64(point)) * prime
        offsets[row + 1] = count


BASELINES = (
    Baseline("dsir", "importance resampling (Xie et al. 2023, arXiv:2302.03169)", dsir, settings=DsirSettings),
)
