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

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.policy.pool import F32, F64, Pool, Rows
from curation_pipeline.policy.scores import Scores
from curation_pipeline.seeds import generator
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.choosing import chosen, static_reward
from curation_pipeline.selection.inputs import Inputs


class FacilitySettings(SharedSettings):
    """Of facility location."""

    facility_neighbours: int = Field(
        default=32, ge=1, le=4096, description="Nearest candidates that may represent a document."
    )
    facility_block: int = Field(
        default=2048, ge=2, le=16_384, description="Neighbours are searched within blocks of at most so many documents."
    )
    facility_bandwidth: float = Field(
        default=0.5, gt=0, description="Width of the similarity, as a multiple of the median distance in the pool."
    )
    facility_reward: float = Field(
        default=0.0,
        ge=0,
        description=(
            "lambda: further weight of the chosen documents' reward next to the coverage, which holds it already; both "
            "count in shares of the tokens."
        ),
    )


def facility_location(pool: Pool, budget_tokens: int, seed: int, settings: FacilitySettings, inputs: Inputs) -> Scores:
    """1 for the chosen documents; the seed is that of the blocks in which neighbours are searched."""
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


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each of n documents, the documents that it is a near neighbour of (compressed rows).

    Attributes:
        start: (n + 1,) offsets of the documents in the arrays below.
        client: documents that the document could represent.
        similarity: float32 in (0, 1], of document and client; 1 for the document itself.
    """

    start: Rows
    client: Rows
    similarity: F32


def neighbours(vectors: F32, k: int, block: int, bandwidth: float, seed: int) -> Neighbours:
    """The k most similar documents of each document, itself included, among those of its block.

    Blocks are the leaves of a random projection tree (Dasgupta and Freund 2008): the documents are halved at the median
    of their projection on a random direction until at most ``block`` are together, so that the cost is n * block.

    Args:
        vectors: (n, d).
        k: at most so many.
        block: most documents of a block.
        bandwidth: h of the similarity exp(-|x - y|^2 / 2h^2), as a multiple of the median distance of random pairs.
        seed: of the directions and the pairs.
    """
    n = len(vectors)
    pairs = generator(seed, "distances").integers(0, n, size=(2, 4096))
    distance = np.linalg.norm(vectors[pairs[0]] - vectors[pairs[1]], axis=1)
    width = bandwidth * (float(np.median(distance[distance > 0])) if bool((distance > 0).any()) else 1.0)
    clients, candidates, similar = [], [], []
    for rows in leaves(vectors, block, seed):
        x = vectors[rows].astype(np.float64)
        squared = (x**2).sum(axis=1)
        apart = np.maximum(squared[:, None] + squared[None, :] - 2.0 * x @ x.T, 0.0)
        np.fill_diagonal(apart, 0.0)
        kept = min(k, len(rows))
        near = np.argpartition(apart, kept - 1, axis=1)[:, :kept]
        clients.append(np.repeat(rows, kept))
        candidates.append(rows[near].ravel())
        similar.append(np.exp(-np.take_along_axis(apart, near, axis=1) / (2.0 * width**2)).ravel())
    candidate = np.concatenate(candidates)
    order = np.argsort(candidate, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(candidate, minlength=n))]).astype(np.int64)
    similarity: F32 = np.concatenate(similar)[order].astype(np.float32)
    return Neighbours(start, np.concatenate(clients)[order], similarity)


def leaves(vectors: F32, block: int, seed: int) -> list[Rows]:
    """The blocks of a random projection tree: rows of ``vectors``, every row in one of them."""
    found: list[Rows] = []
    open_: list[tuple[str, Rows]] = [("", np.arange(len(vectors), dtype=np.int64))]
    while open_:
        path, rows = open_.pop()
        if len(rows) <= block:
            found.append(rows)
            continue
        direction = generator(seed, "direction", path).standard_normal(vectors.shape[1])
        order = np.argsort(vectors[rows] @ direction, kind="stable")
        half = len(rows) // 2
        open_ += [(path + "0", rows[order[:half]]), (path + "1", rows[order[half:]])]
    return found


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


BASELINES = (
    Baseline(
        "facility_location",
        "every document has a near representative (Nemhauser, Wolsey and Fisher 1978)",
        facility_location,
        settings=FacilitySettings,
    ),
)
