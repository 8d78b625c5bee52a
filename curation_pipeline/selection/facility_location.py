"""Greedy facility location: a batch in which every document of the pool has a near representative.

The value of a set S is, with t tokens, T their sum, s the similarity and r the reward alpha R_s + beta R_a,

    F(S) = sum_i (t_i / T) R_s(i) max_{j in S} s_ij r_j + lambda sum_{j in S} (t_j / T) r_j,

monotone and submodular: harmful documents need no representative, and a document represents others as well as its own
reward, scaled to [0, 1], allows. The greedy rule takes the document of the largest gain per token until the next does
not fit. It reaches 1 - exp(-c(S) / B) of the best value of any set of cost at most B, c(S) the tokens that it has
spent, which is 1 - 1/e up to one document's share of the budget (Nemhauser, Wolsey and Fisher 1978; for costs,
Sviridenko 2004 and Krause and Golovin 2014). Gains only fall, so that stale ones are upper bounds and most need not be
computed again (lazy greedy; Minoux 1978). Similarities beyond the nearest neighbours count as zero, which is the value
that the guarantee is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.policy.pool import F64, Pool, Rows
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.choosing import chosen, static_reward
from curation_pipeline.selection.neighbours import Neighbours, neighbours
from curation_pipeline.selection.settings import BaselineSettings


@dataclass(frozen=True, slots=True)
class FacilityLocation:
    """Lazy greedy facility location with the reward in its similarities and, if wanted, as a modular term."""

    settings: BaselineSettings = field(default_factory=BaselineSettings)
    name: str = "facility_location"

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """1 for the chosen documents; the seed is that of the blocks in which neighbours are searched."""
        settings = self.settings
        # Everything in the order of the ids, so that neither blocks nor sums depend on the order of the pool.
        order = pool.doc_id.arg_sort().to_numpy().astype(np.int64)
        near = neighbours(
            pool.vectors[order],
            settings.facility_neighbours,
            settings.facility_block,
            settings.facility_bandwidth,
            seed,
        )
        tokens = pool.n_tokens[order].astype(np.float64)
        share = tokens / tokens.sum()
        reward = static_reward(pool, settings)[order] / max(settings.safety_weight + settings.alignment_weight, 1e-12)
        near = replace(near, similarity=near.similarity * np.repeat(reward, np.diff(near.start)).astype(np.float32))
        modular = settings.facility_reward * reward * share
        picked = lazy_greedy(near, share * pool.safety[order], modular, tokens, float(budget_tokens))
        return chosen(len(pool), order[picked], "others represent it at less cost")


def lazy_greedy(near: Neighbours, mass: F64, modular: F64, cost: F64, budget: float) -> Rows:
    """Documents in the order in which the cost-scaled greedy rule takes them.

    Args:
        near: similarities, zero where there are none.
        mass: (n,) what it is worth to represent each document.
        modular: (n,) what each document is worth by itself.
        cost: (n,) positive.
        budget: the sum of costs that may be spent; the rule ends with the first document that does not fit.
    """
    out = np.empty(len(mass), np.int64)
    count = _lazy_greedy(near.start, near.client, near.similarity, mass, modular, cost, budget, out)
    return out[:count]


def coverage(near: Neighbours, mass: F64, modular: F64, rows: Rows) -> float:
    """F(S) of a set, computed directly."""
    best = np.zeros(len(mass))
    for row in rows:
        part = slice(near.start[row], near.start[row + 1])
        np.maximum.at(best, near.client[part], near.similarity[part])
    return float(mass @ best + modular[rows].sum())


@compiled
def _lazy_greedy(
    start: np.ndarray,
    client: np.ndarray,
    similarity: np.ndarray,
    mass: np.ndarray,
    modular: np.ndarray,
    cost: np.ndarray,
    budget: float,
    out: np.ndarray,
) -> int:
    """Fill ``out`` and return how many documents were taken; a binary heap of upper bounds, the largest on top."""
    n = mass.size
    best = np.zeros(n)
    bound = np.empty(n)
    for j in range(n):
        gain = modular[j]
        for at in range(start[j], start[j + 1]):
            gain += mass[client[at]] * similarity[at]
        bound[j] = gain / cost[j]
    heap = np.argsort(-bound, kind="mergesort")  # a sorted array is a heap
    size, count, spent = n, 0, 0.0
    while size > 0:
        j = heap[0]
        gain = modular[j]
        for at in range(start[j], start[j + 1]):
            more = similarity[at] - best[client[at]]
            if more > 0:
                gain += mass[client[at]] * more
        fresh = gain / cost[j]
        if fresh >= bound[j] - 1e-12 * abs(bound[j]):
            if spent + cost[j] > budget:
                break
            spent += cost[j]
            out[count] = j
            count += 1
            for at in range(start[j], start[j + 1]):
                if similarity[at] > best[client[at]]:
                    best[client[at]] = similarity[at]
            size -= 1
            heap[0] = heap[size]
        else:
            bound[j] = fresh
        place = 0
        while True:
            child = 2 * place + 1
            if child >= size:
                break
            right = child + 1
            if right < size and bound[heap[right]] > bound[heap[child]]:
                child = right
            if bound[heap[child]] <= bound[heap[place]]:
                break
            heap[place], heap[child] = heap[child], heap[place]
            place = child
    return count
