from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from curation_pipeline.annotate.topics import TopicModel, load_topics, match_topics
from curation_pipeline.errors import DataError


def model(k: int = 3) -> TopicModel:
    return TopicModel(np.eye(k, 4, dtype=np.float32), tuple(f"label {i}" for i in range(k)), tuple(range(k, 0, -1)))


@pytest.mark.parametrize("seed", range(5))
def test_a_refit_under_other_numbers_gets_its_ids_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old = rng.integers(0, 6, 2000)
    shuffle = rng.permutation(6)
    new = shuffle[old]
    new[rng.random(2000) < 0.2] = rng.integers(0, 6)  # the refit disagrees on some texts
    np.testing.assert_array_equal(match_topics(old, new, 6)[shuffle], np.arange(6))


def test_the_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(4)
    old, new = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    ids = match_topics(old, new, 5, minimum_overlap=0.0)
    common = [[int(((old == i) & (new == j)).sum()) for j in range(5)] for i in range(5)]
    best = max(sum(common[i][j] for j, i in enumerate(p)) for p in permutations(range(5)))
    assert sum(common[int(i)][j] for j, i in enumerate(ids)) == best


def test_new_topics_get_new_ids() -> None:
    old = np.array([0] * 50 + [7] * 50 + [3] * 50)
    new = np.array([1] * 50 + [0] * 50 + [2] * 5 + [3] * 40 + [1] * 5)
    assert match_topics(old, new, 4).tolist() == [7, 0, 8, 3]
    assert match_topics(old, new, 4, next_id=20).tolist() == [7, 0, 20, 3]
    assert match_topics(np.empty(0), np.empty(0), 2).tolist() == [0, 1]
    with pytest.raises(DataError, match="cannot be matched"):
        match_topics(old, new, 3)


def test_a_renumbered_model_gives_the_new_ids_and_survives_the_disk(tmp_path: Path) -> None:
    fresh = model()
    assert fresh.ids == (0, 1, 2)
    assert fresh.next_id == 3
    vectors = np.eye(3, 4, dtype=np.float32)
    renamed = fresh.renumbered([9, 0, 4], next_id=12)
    assert renamed.assign(vectors)[0].tolist() == [9, 0, 4]
    assert renamed.assign(vectors)[0].dtype == np.int16
    assert dict(zip(renamed.ids, renamed.labels, strict=True)) == {9: "label 0", 0: "label 1", 4: "label 2"}
    assert dict(zip(renamed.ids, renamed.sizes, strict=True)) == {9: 3, 0: 2, 4: 1}
    assert renamed.next_id == 12
    renamed.save(tmp_path)
    again = load_topics(tmp_path)
    assert (again.ids, again.labels, again.sizes, again.next_id) == (
        renamed.ids, renamed.labels, renamed.sizes, renamed.next_id,
    )  # fmt: skip
    assert again.assign(vectors)[0].tolist() == [9, 0, 4]
    assert fresh.renumbered([9, 0, 4]).next_id == 10


@pytest.mark.parametrize("ids", [[0, 1], [0, 1, 1], [0, 1, -1], [0, 1, 2**15]])
def test_ids_that_cannot_be_are_refused(ids: list[int]) -> None:
    with pytest.raises(DataError, match="distinct ids"):
        model().renumbered(ids)
