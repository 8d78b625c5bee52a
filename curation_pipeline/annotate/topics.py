"""Topics: k-means over sentence vectors, each with a label that a person can read (``topics@1``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline import seeds
from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.annotate.lexicon import STOP_WORDS
from curation_pipeline.errors import DataError

VERSION = 1
CHUNK = 65_536
LABEL_WORDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class TopicModel:
    """Fitted topics; a fresh fit numbers them by falling size on the sample that they were fitted on.

    Attributes:
        centroids: (k, d) float32.
        labels: k labels, such as "film, director, actor, series".
        sizes: k numbers of documents in the sample.
        ids: k distinct topic ids, ascending: 0 to k - 1 after a fresh fit; see ``renumbered``.
        next_id: the id that the next topic never seen before will get.
    """

    centroids: np.ndarray
    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    ids: tuple[int, ...] = ()
    next_id: int = 0

    def __post_init__(self) -> None:
        if not self.ids:
            object.__setattr__(self, "ids", tuple(range(len(self.labels))))
        object.__setattr__(self, "next_id", max(self.next_id, *(i + 1 for i in self.ids), 0))

    def assign(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest topic of each vector.

        Args:
            vectors: (n, d).

        Returns:
            Topic ids, int16 (n,), and Euclidean distances to their centroids, float32 (n,) rounded to 4 decimals.
        """
        centroids, ids = self.centroids.astype(np.float64), np.array(self.ids, dtype=np.int16)
        topic = np.empty(len(vectors), dtype=np.int16)
        distance = np.empty(len(vectors), dtype=np.float32)
        for start in range(0, len(vectors), CHUNK):
            part = np.asarray(vectors[start : start + CHUNK], dtype=np.float64)
            squared = (part**2).sum(1)[:, None] - 2.0 * part @ centroids.T + (centroids**2).sum(1)
            # Rounding settles ties by the lower id, whatever the matrix product's last bits are.
            nearest = np.round(squared, 9).argmin(1)
            topic[start : start + len(part)] = ids[nearest]
            least = np.maximum(squared[np.arange(len(part)), nearest], 0.0)
            distance[start : start + len(part)] = np.round(np.sqrt(least), 4)
        return topic, distance

    def renumbered(self, ids: Sequence[int] | np.ndarray, next_id: int = 0) -> TopicModel:
        """The same topics under other ids.

        Args:
            ids: the new id of each topic, in the order of ``centroids``; see ``match_topics``.
            next_id: least id for a topic that a later fit finds new; give the former model's, so that the id of a topic
                that has died out is never used again.

        Raises:
            DataError: when there is not one distinct id in [0, 32767] for each topic.
        """
        given = [int(i) for i in ids]
        if len(given) != len(self.labels) or len(set(given)) != len(given) or not all(0 <= i < 2**15 for i in given):
            raise DataError(f"{len(self.labels)} topics need as many distinct ids from 0 to 32767, got {given}")
        order = np.argsort(given)
        return TopicModel(
            self.centroids[order],
            tuple(self.labels[i] for i in order),
            tuple(self.sizes[i] for i in order),
            tuple(given[i] for i in order),
            next_id,
        )

    def save(self, directory: Path) -> None:
        """Write to a folder as safetensors and JSON."""
        meta = {
            "kind": "topics",
            "version": VERSION,
            "labels": list(self.labels),
            "sizes": list(self.sizes),
            "ids": list(self.ids),
            "next_id": self.next_id,
        }
        save_arrays(directory, {"centroids": self.centroids}, meta)


def load_topics(directory: Path) -> TopicModel:
    """What ``TopicModel.save`` wrote.

    Raises:
        MissingModelError: when the folder does not hold it.
        DataError: when it holds something else.
    """
    arrays, meta = load_arrays(directory)
    if meta.get("kind") != "topics" or meta.get("version") != VERSION:
        raise DataError(f"{directory} holds no topics of version {VERSION}; fit them again")
    return TopicModel(
        arrays["centroids"],
        tuple(meta["labels"]),
        tuple(int(size) for size in meta["sizes"]),
        tuple(int(i) for i in meta.get("ids", ())),
        int(meta.get("next_id", 0)),
    )


def match_topics(
    old: np.ndarray, new: np.ndarray, k: int, minimum_overlap: float = 0.2, next_id: int = 0
) -> np.ndarray:
    """Ids under which the topics of a refit keep those of the topics that they continue.

    The assignment of new topics to old ones that has most texts in common (Kuhn 1955, the Hungarian method, on the
    contingency table). A pair counts as one topic only if its texts in common are at least ``minimum_overlap`` of those
    in either; the others are new topics and get ids above all old ones. When all persist and the old ids were 0 to
    k - 1, the result is a permutation.

    Args:
        old: (n,) former topic id of each text.
        new: (n,) topic of the same texts by the refit, in [0, k).
        k: number of topics of the refit.
        minimum_overlap: least Jaccard similarity of the two sets of texts, in [0, 1].
        next_id: least id for new topics, besides being above all of ``old``.

    Returns:
        (k,) int64: the id for each topic of the refit, to be given to ``TopicModel.renumbered``.

    Raises:
        DataError: when the lengths differ or a new topic lies outside [0, k).
    """
    from scipy.optimize import linear_sum_assignment

    old, new = np.asarray(old, dtype=np.int64), np.asarray(new, dtype=np.int64)
    if len(old) != len(new) or (len(new) and not 0 <= new.min() <= new.max() < k):
        raise DataError(f"topics of {len(old)} and {len(new)} texts cannot be matched into {k} topics")
    former, code = np.unique(old, return_inverse=True)
    common = np.zeros((former.size, k), dtype=np.int64)
    np.add.at(common, (code, new), 1)
    rows, columns = linear_sum_assignment(common, maximize=True)
    both = common[rows, columns]
    either = common.sum(1)[rows] + common.sum(0)[columns] - both
    persists = (both > 0) & (both >= minimum_overlap * either)
    ids = np.full(k, -1, dtype=np.int64)
    ids[columns[persists]] = former[rows[persists]]
    fresh = ids < 0
    ids[fresh] = max(next_id, int(former.max(initial=-1)) + 1) + np.arange(fresh.sum())
    return ids


def fit_topics(vectors: np.ndarray, texts: Sequence[str] | pl.Series, k: int = 24, seed: int = 0) -> TopicModel:
    """Mini-batch k-means (Sculley 2010) on vectors.

    Args:
        vectors: (n, d).
        texts: n texts, for the labels.
        k: number of topics; fewer where there are fewer distinct vectors.
        seed: the same input and seed give the same topics.

    Raises:
        DataError: when there is no vector, or not one text for each.
    """
    from sklearn.cluster import MiniBatchKMeans

    rows = texts.to_list() if isinstance(texts, pl.Series) else list(texts)
    if len(rows) != len(vectors) or not rows:
        raise DataError(f"topics need one text for each vector, got {len(rows)} texts and {len(vectors)} vectors")
    k = min(k, len(np.unique(vectors, axis=0)))
    means = MiniBatchKMeans(
        k,
        random_state=seeds.derive(seed, "topics") % 2**32,
        n_init=4,
        batch_size=4096,
        reassignment_ratio=0.0,
    ).fit(np.asarray(vectors, dtype=np.float64))
    centroids = means.cluster_centers_.astype(np.float32)
    first, _ = TopicModel(centroids, ("",) * k, (0,) * k).assign(vectors)
    sizes = np.bincount(first, minlength=k)
    order = np.lexsort((np.arange(k), -sizes))
    place = np.empty(k, dtype=np.int64)
    place[order] = np.arange(k)
    labels = _labels(rows, place[first], k)
    return TopicModel(centroids[order], labels, tuple(int(size) for size in sizes[order]))


def _labels(texts: list[str], topic: np.ndarray, k: int) -> tuple[str, ...]:
    """The words whose document frequency in a topic is most above that elsewhere.

    Log odds with an informative Dirichlet prior, in standard errors (Monroe, Colaresi and Quinn 2008): frequent words
    do not win by being frequent, nor rare ones by chance.
    """
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        token_pattern=r"(?u)\b[^\W\d_]{3,}\b", binary=True, stop_words=list(STOP_WORDS), max_features=20_000
    )
    try:
        present = counter.fit_transform(texts)
    except ValueError:  # no word at all: nothing to label with
        return tuple(f"topic {i}" for i in range(k))
    words = counter.get_feature_names_out()
    member = sparse.csr_matrix((np.ones(len(texts)), (topic, np.arange(len(texts)))), shape=(k, len(texts)))
    inside = np.asarray((member @ present).todense(), dtype=np.float64)
    total = inside.sum(0)
    prior = 500.0 * total / total.sum()

    def log_odds(count: np.ndarray, mass: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(count + prior) - np.log(mass + prior.sum() - count - prior))

    outside = total - inside
    difference = log_odds(inside, inside.sum(1, keepdims=True)) - log_odds(outside, outside.sum(1, keepdims=True))
    z = difference / np.sqrt(1.0 / (inside + prior) + 1.0 / (outside + prior))
    labels = []
    for i in range(k):
        best = np.lexsort((np.arange(words.size), -np.round(z[i], 9)))[:LABEL_WORDS]
        chosen = [str(words[j]) for j in best if inside[i, j] > 0]
        labels.append(", ".join(chosen) or f"topic {i}")
    return tuple(labels)
