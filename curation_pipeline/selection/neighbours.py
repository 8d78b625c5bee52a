"""Nearest neighbours within blocks: similarities whose cost grows linearly with the pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_pipeline.policy.pool import F32, Rows
from curation_pipeline.seeds import generator


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each of n documents, the documents that it is a near neighbour of (compressed rows).

    Attributes:
        start: (n + 1,) offsets of the documents in the arrays below.
        client: whom the document could represent.
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
