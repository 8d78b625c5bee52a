"""What a synthetic pool could be worth: the batch of a curator who knows the truth that the others have to learn.

Lazy greedy (Minoux, 1978) on the true P: a document enters by what it adds to P for each of its tokens, which falls as
its topic fills, so that a stale figure is an upper bound and few are computed anew. Loss weights between 0.5 and 2, as
every arm may give, follow by ascent along the gradient. Two curators are of interest:

- the oracle knows each document's harm and information. No policy can: both are partly noise that no feature shows;
- the reader knows the form of P and each topic's mean information, but of a document only P(harm), as the reward does.
  What is missing to it is what feedback can teach; what separates it from the oracle is what detectors miss.
"""

from __future__ import annotations

import heapq

import numpy as np

from curation_pipeline.policy.pool import F64
from research.synthetic_pool import COUNTER, SyntheticPool

_STEPS = (1.0, 0.4, 0.1)
_SHARES = np.linspace(0.0, 1.0, 11)


def oracle_weights(pool: SyntheticPool, budget_tokens: int) -> F64:
    """Loss weights (n,) of the batch that the hidden truth makes best, 0 where a document is not drawn.

    Args:
        pool: with its hidden truth.
        budget_tokens: tokens of drawn documents whatever their weight; never exceeded.
    """
    return believed_best(pool, budget_tokens, pool.harmful.astype(np.float64), pool.information)


def reader_weights(pool: SyntheticPool, budget_tokens: int) -> F64:
    """Loss weights (n,) of the best batch for one who sees P(harm) and the mean information of topics."""
    count = np.bincount(pool.topic)
    mean = np.bincount(pool.topic, weights=pool.information) / np.maximum(count, 1)
    return believed_best(pool, budget_tokens, pool.pool.p_harm.astype(np.float64), mean[pool.topic])


def believed_best(pool: SyntheticPool, budget_tokens: int, harm: F64, information: F64, rounds: int = 12) -> F64:
    """Loss weights (n,) of the greedy batch under beliefs about its documents.

    Args:
        pool: its topics and the form of its truth.
        budget_tokens: tokens of drawn documents.
        harm: (n,) probability of harm.
        information: (n,) expected information per token.
        rounds: of reweighing; each keeps what it finds only where the believed P rises.
    """
    weights = _greedy(pool, budget_tokens, harm, information)
    chosen = np.flatnonzero(weights)
    if chosen.size == 0:
        return weights
    tokens = pool.pool.n_tokens[chosen]
    best = _value(pool, weights, harm, information)
    for _ in range(rounds):
        order = np.argsort(-_slope(pool, weights, harm, information)[chosen], kind="stable")
        share = np.cumsum(tokens[order]) / tokens.sum()
        before = best
        for doubled in _SHARES:
            tried = np.zeros(len(weights))
            tried[chosen[order]] = np.where(share <= doubled, 2.0, 0.5)
            for step in _STEPS:
                mixed = weights + step * (tried - weights)
                value = _value(pool, mixed, harm, information)
                if value > best:
                    best, kept = value, mixed
        if best < before + 1e-6:
            break
        weights = kept
    return weights


def _value(pool: SyntheticPool, weights: F64, harm: F64, information: F64) -> float:
    return pool.performance(weights, harm, information)[2]


def _greedy(pool: SyntheticPool, budget_tokens: int, harm: F64, information: F64) -> F64:
    """Weights of 1 for the documents that lazy greedy draws; harm and counter-speech count as shares of the budget."""
    tokens = pool.pool.n_tokens
    importance, scale = pool.topics()
    topic = pool.topic
    counter = np.where(topic == COUNTER, 1.0 - harm, 0.0)
    filled = np.zeros(len(importance))
    mass = np.zeros(2)  # shares of harm and of counter-speech

    def safety(h: float, s: float) -> float:
        return float(np.exp(-7.0 * h) * (0.85 + 0.15 * min(1.0, s / 0.04)))

    def worth(i: int) -> float:
        """What document i adds to 2 P for each of its tokens."""
        n, t = float(tokens[i]), topic[i]
        gained = importance[t] * np.exp(-filled[t] / scale[t]) * -np.expm1(-n * information[i] / scale[t])
        part = n / budget_tokens
        moved = safety(mass[0] + part * harm[i], mass[1] + part * counter[i]) - safety(mass[0], mass[1])
        return float(gained + moved) / n

    heap = [(-worth(i), i) for i in range(len(tokens))]
    heapq.heapify(heap)
    weights, left = np.zeros(len(tokens)), budget_tokens
    while heap:
        _, i = heapq.heappop(heap)
        if tokens[i] > left:
            continue
        now = worth(i)
        if heap and -now > heap[0][0]:
            heapq.heappush(heap, (-now, i))
            continue
        if now <= 0:
            break
        weights[i] = 1.0
        left -= int(tokens[i])
        filled[topic[i]] += tokens[i] * information[i]
        mass += tokens[i] / budget_tokens * np.array([harm[i], counter[i]])
    return weights


def _slope(pool: SyntheticPool, weights: F64, harm: F64, information: F64) -> F64:
    """(n,) derivative of the believed P by a token's weight, up to a constant."""
    tokens = pool.pool.n_tokens.astype(np.float64)
    importance, scale = pool.topics()
    drawn = tokens[weights > 0].sum()
    mass = weights * tokens
    mass *= drawn / mass.sum()
    filled = np.bincount(pool.topic, weights=mass * information, minlength=len(importance))
    counter = np.where(pool.topic == COUNTER, 1.0 - harm, 0.0)
    spoken = float(mass @ counter) / drawn
    kept = float(np.exp(-7.0 * (mass @ harm) / drawn))
    slope = (importance / scale * np.exp(-filled / scale))[pool.topic] * information
    slope -= 7.0 * kept * (0.85 + 0.15 * min(1.0, spoken / 0.04)) * harm / drawn
    if spoken < 0.04:
        slope += kept * 0.15 / 0.04 * counter / drawn
    return np.asarray(slope)
