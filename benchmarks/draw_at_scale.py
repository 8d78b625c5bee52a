"""The draw at up to a billion documents, simulated on its histograms alone.

    python benchmarks/draw_at_scale.py [--documents N ...] [--runs N] [--out FILE]

The draw never holds a pool: a histogram of log-odds gives the shift that meets the budget, a histogram of ranks gives
the threshold, and only the rows of one bin of it are looked at. So a pool of any size is simulated by these histograms
of documents from a known distribution: log-odds of a mixture of two normals (much that is dropped, some that is kept),
tokens of a lognormal one. The documents of a bin are a Poisson number, their tokens a normal sum of as many. The
draw's own functions then find shift and threshold.

What must hold: the tokens drawn stay within the budget and fall short of it by less than a document; and each document
is drawn as often as its probability says, whatever that is (ten classes of equally many drawn documents). At a million
documents the same is done with real arrays, documents one by one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from curation_pipeline.policy.keep_logits import STEPS, BudgetShift, KeepHistogram, KeepLogits
from curation_pipeline.policy.projection import sigmoid
from curation_pipeline.selection import draw

MIXTURE = ((0.7, -3.0, 1.5), (0.3, 1.0, 2.0))
"""Share, mean and standard deviation of the log-odds."""
TOKENS_LOG_MEAN, TOKENS_LOG_SD, MOST_TOKENS = 5.5, 0.9, 4_096
BUDGET = 0.04
"""Of the pool's tokens."""
CLASSES = 10
RANK_BINS = 4_096
"""Bins to an octave of ranks, as `selection/draw.py` cuts them."""


def token_counts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Tokens (n,) of some documents."""
    return np.clip(np.rint(rng.lognormal(TOKENS_LOG_MEAN, TOKENS_LOG_SD, n)), 1, MOST_TOKENS).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as histograms.

    Attributes:
        odds: (b,) log-odds in steps.
        documents: (b,) documents there.
        tokens: (b,) their tokens.
        moments: mean and standard deviation of a document's tokens.
    """

    odds: np.ndarray
    documents: np.ndarray
    tokens: np.ndarray
    moments: tuple[float, float]


def pool(rng: np.random.Generator, documents: int) -> Pool:
    """A pool of about so many documents."""
    odds = np.arange(-16 * STEPS, 16 * STEPS)
    edges = (np.append(odds, odds[-1] + 1) - 0.5) / STEPS
    share = sum(part * np.diff(norm.cdf(edges, mean, sd)) for part, mean, sd in MIXTURE)
    sample = token_counts(rng, 1_000_000)
    moments = float(sample.mean()), float(sample.std())
    found = rng.poisson(documents * share)
    there = found > 0
    odds, found = odds[there], found[there]
    return Pool(odds, found, sums(rng, found, moments), moments)


def sums(rng: np.random.Generator, documents: np.ndarray, moments: tuple[float, float]) -> np.ndarray:
    """Tokens of so many documents together."""
    total = rng.normal(documents * moments[0], np.sqrt(documents) * moments[1])
    return np.maximum(np.rint(total), documents).astype(np.int64)


def rank_histogram(rng: np.random.Generator, whole: Pool, probability: np.ndarray) -> tuple[draw.RankHistogram, Any]:
    """Tokens by bin of rank, and the expected documents by bin: ranks of a document are uniform up to 1 / p."""
    # Bins of the draw: the leading bits of the rank, from 2^-12 to 2^4; what lies below is one bin.
    lowest, highest = -12, 4
    octaves = np.repeat(2.0 ** np.arange(lowest, highest), RANK_BINS)
    edges = octaves * (1 + np.tile(np.arange(RANK_BINS), highest - lowest) / RANK_BINS)
    edges = np.append(edges, 2.0**highest)
    # Documents of a rank below r: the sum of k min(r p, 1) over bins of log-odds, by cumulated sums in order of 1 / p.
    order = np.argsort(-probability)
    ended = 1 / probability[order]
    k, kp = whole.documents[order].cumsum(), (whole.documents * probability)[order].cumsum()
    place = np.searchsorted(ended, edges, side="right")
    finished = np.where(place > 0, k[np.maximum(place - 1, 0)], 0)
    running = kp[-1] - np.where(place > 0, kp[np.maximum(place - 1, 0)], 0.0)
    below = finished + edges * running
    expected = np.diff(below, prepend=0.0)  # the first has all that lies below
    found = rng.poisson(np.maximum(expected, 0.0))
    tokens = sums(rng, found, whole.moments)
    starts = np.append(edges[0] / 2, edges[:-1])
    there = found > 0
    return draw.rank_histogram(starts[there], tokens[there]), (found[there], starts[there])


def simulate(documents: int, seed: int) -> dict[str, Any]:
    """One draw from histograms alone."""
    rng = np.random.default_rng([documents, seed])
    started = time.process_time()
    whole = pool(rng, documents)
    budget = int(BUDGET * whole.tokens.sum())
    steps = np.full(len(whole.odds), STEPS, np.int64)  # every weight is 1
    histogram = KeepHistogram(whole.odds.astype(np.int64), whole.tokens, whole.tokens * steps, whole.tokens * steps)
    shift = BudgetShift.of(histogram, budget)
    probability = sigmoid(whole.odds / STEPS + shift.shift)
    ranks, (found, starts) = rank_histogram(rng, whole, probability)
    where = draw.boundary(ranks, budget)
    assert where.bin is not None
    inside = int(np.flatnonzero(ranks.bins == where.bin)[0])
    n = int(found[inside])
    width = starts[inside] / RANK_BINS / (1 + (starts[inside] / 2.0 ** np.floor(np.log2(starts[inside])) - 1))
    row_ranks, row_tokens = starts[inside] + rng.random(n) * width, token_counts(rng, n)
    row_tokens = fitted(row_tokens, int(ranks.tokens[inside]))
    limit = draw.threshold(ranks, budget, [(row_ranks, row_tokens)], where)
    drawn = where.tokens_below + int(row_tokens[row_ranks <= limit].sum())
    return {
        "size": documents,
        "documents": int(whole.documents.sum()),
        "budget_tokens": budget,
        "shift": shift.shift,
        "expected_tokens_over_budget": float(probability @ whole.tokens) / budget,
        "tokens_short": budget - drawn,
        "longest_document": MOST_TOKENS,
        "rank_threshold": limit,
        "calibration_error": calibration(rng, whole, probability, limit),
        "bytes_of_log_odds": 32 * len(whole.odds),
        "bytes_of_ranks": 16 * len(ranks.bins),
        "rows_of_the_last_bin": n,
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def fitted(tokens: np.ndarray, total: int) -> np.ndarray:
    """Token counts of a sample brought to a total, since the histogram has drawn the total already."""
    scaled = np.maximum(np.rint(tokens * (total / tokens.sum())), 1).astype(np.int64)
    scaled[int(np.argmax(scaled))] += total - int(scaled.sum())
    return scaled


def calibration(rng: np.random.Generator, whole: Pool, probability: np.ndarray, limit: float) -> float:
    """Largest relative difference between how often documents are drawn and their probability, over ten classes."""
    drawn = rng.binomial(whole.documents, np.minimum(limit * probability, 1.0))
    expected = whole.documents * probability
    order = np.argsort(probability)
    group = np.minimum((CLASSES * expected[order].cumsum() / expected.sum()).astype(int), CLASSES - 1)
    counts = np.bincount(group, weights=drawn[order], minlength=CLASSES)
    return float(np.abs(counts / np.bincount(group, weights=expected[order], minlength=CLASSES) - 1).max())


def one_by_one(documents: int, seed: int) -> dict[str, Any]:
    """The same draw with real arrays, for comparison."""
    rng = np.random.default_rng([documents, seed, 1])
    part = rng.random(documents) < MIXTURE[0][0]
    normal = rng.standard_normal(documents)
    odds = np.where(part, *(mean + sd * normal for _, mean, sd in MIXTURE))
    kept = KeepLogits.of(odds, np.ones(documents))
    tokens = token_counts(rng, documents)
    budget = int(BUDGET * tokens.sum())
    shift = BudgetShift.of(kept.histogram(tokens), budget)
    rank = draw.ranks_of(rng.random(documents), shift.probability(kept))
    limit = draw.limit_of([lambda: (rank, tokens)], budget)
    chosen = draw.apply(rank, limit)
    return {
        "documents": documents,
        "shift": shift.shift,
        "rank_threshold": limit,
        "tokens_short": budget - int(tokens[chosen].sum()),
        "share_drawn": float(chosen.mean()),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10**6, 10**8, 10**9])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    result = {
        "budget": BUDGET,
        "one_by_one": [one_by_one(10**6, seed) for seed in range(options.runs)],
        "simulated": [simulate(n, seed) for n in options.documents for seed in range(options.runs)],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for found in result["simulated"]:
        print(found)
    print(result["one_by_one"][0])


if __name__ == "__main__":
    main()
