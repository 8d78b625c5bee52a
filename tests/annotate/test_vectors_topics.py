from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curation_pipeline.annotate.topics import fit_topics, load_topics
from curation_pipeline.annotate.vectors import fit_vectors, load_vectors
from curation_pipeline.errors import DataError, MissingModelError

SUBJECTS = {
    "river": ["river", "boat", "bridge", "valley", "water", "harbour", "stream"],
    "music": ["song", "guitar", "singer", "album", "concert", "melody", "drums"],
    "court": ["judge", "court", "trial", "lawyer", "verdict", "appeal", "statute"],
}


@pytest.fixture(scope="module")
def corpus() -> tuple[list[str], np.ndarray]:
    """Texts about three subjects of unequal size, and the subject of each."""
    random = np.random.default_rng(0)
    texts, subject = [], []
    for i, (words, n) in enumerate(zip(SUBJECTS.values(), (150, 100, 50), strict=True)):
        for _ in range(n):
            texts.append("the " + " and the ".join(random.choice(words, 5)))
            subject.append(i)
    order = random.permutation(len(texts))
    return [texts[i] for i in order], np.array(subject)[order]


def test_reload_gives_identical_vectors_and_rows_stand_alone(
    corpus: tuple[list[str], np.ndarray], tmp_path: Path
) -> None:
    texts, _ = corpus
    model = fit_vectors(texts, seed=3)
    vectors = model.transform(texts)
    assert vectors.shape == (300, 64)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)
    model.save(tmp_path / "vectors")
    np.testing.assert_array_equal(load_vectors(tmp_path / "vectors").transform(texts), vectors)
    np.testing.assert_array_equal(np.vstack([model.transform([text]) for text in texts[:20]]), vectors[:20])
    np.testing.assert_array_equal(fit_vectors(texts, seed=3).transform(texts), vectors)
    assert not model.transform(["", "zzz qqq"]).any()


def test_missing_or_foreign_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="no model in"):
        load_vectors(tmp_path)
    with pytest.raises(DataError):
        fit_vectors(["", "?"], seed=0)


def test_topics_find_the_subjects_largest_first(corpus: tuple[list[str], np.ndarray], tmp_path: Path) -> None:
    texts, subject = corpus
    vectors = fit_vectors(texts, seed=3).transform(texts)
    model = fit_topics(vectors, texts, k=3, seed=5)
    topic, distance = model.assign(vectors)
    np.testing.assert_array_equal(topic, subject)
    assert topic.dtype == np.int16
    assert model.sizes == (150, 100, 50)
    for label, words in zip(model.labels, SUBJECTS.values(), strict=True):
        assert set(label.split(", ")) <= set(words)
    direct = np.linalg.norm(vectors - model.centroids[topic], axis=1)
    np.testing.assert_allclose(distance, direct, atol=1e-3)
    model.save(tmp_path / "topics")
    again = load_topics(tmp_path / "topics")
    np.testing.assert_array_equal(again.assign(vectors)[0], topic)
    assert again.labels == model.labels


def test_fewer_distinct_vectors_than_topics() -> None:
    vectors = np.eye(64, dtype=np.float32)[[0, 0, 1, 1, 1]]
    model = fit_topics(vectors, ["a", "b", "c", "d", "e"], k=24, seed=0)
    assert model.sizes == (3, 2)
