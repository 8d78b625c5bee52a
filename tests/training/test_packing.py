from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.training.packing import copies, pack_tokens
from curation_pipeline.training.tokenizer import Tokenised

EOS = 0


def _tokenised(lengths: list[int]) -> Tokenised:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Tokenised(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets)


@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=12),
    length=st.integers(2, 17),
    seed=st.integers(0, 50),
    data=st.data(),
)
def test_every_token_is_predicted_once_with_its_documents_weight(
    lengths: list[int], length: int, seed: int, data: st.DataObject
) -> None:
    weights = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=len(lengths), max_size=len(lengths)))
    )
    documents = _tokenised(lengths)
    if not weights.any():
        with pytest.raises(DataError, match="nothing to train on"):
            pack_tokens(documents, weights, EOS, length, seed)
        return
    packed = pack_tokens(documents, weights, EOS, length, seed)
    kept = weights > 0
    assert packed.n_tokens == int((documents.counts * kept).sum())
    predicted = packed.loss_weight > 0
    assert predicted.sum() == packed.n_tokens
    np.testing.assert_allclose(packed.loss_weight[predicted].mean(), 1.0, rtol=1e-5)
    # Token ids are unique, so each one's weight can be compared with its document's, up to one common factor.
    owner = np.repeat(np.arange(len(lengths)), lengths)
    seen = packed.tokens[predicted]
    text = seen != EOS
    assert sorted(seen[text].tolist()) == sorted((np.flatnonzero(kept[owner]) + 1).tolist())
    ratio = packed.loss_weight[predicted][text] / weights[owner[seen[text] - 1]]
    if text.any():
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=8), length=st.integers(3, 12))
def test_a_token_only_sees_its_own_document(lengths: list[int], length: int) -> None:
    packed = pack_tokens(_tokenised(lengths), np.ones(len(lengths)), EOS, length, seed=1)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    for tokens, segment, position, weight in zip(
        packed.tokens, packed.segment, packed.position, packed.loss_weight, strict=True
    ):
        for target in np.flatnonzero(weight > 0):
            if tokens[target] == EOS:
                continue
            visible = np.flatnonzero(segment[:target] == segment[target - 1])
            seen = tokens[visible]
            assert {int(owner[t - 1]) for t in seen if t != EOS} <= {int(owner[tokens[target] - 1])}
            assert position[visible].tolist() == list(range(visible.size))


def test_the_order_follows_the_seed() -> None:
    documents = _tokenised([5] * 40)
    first, again, other = (pack_tokens(documents, np.ones(40), EOS, 16, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (first.tokens != other.tokens).any()


def test_a_weight_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(DataError, match="finite weights"):
        pack_tokens(_tokenised([3, 3]), np.array([1.0, np.nan]), EOS, 8, 0)


@given(
    weights=st.lists(st.floats(0.05, 5.0), min_size=2, max_size=30),
    length=st.integers(1, 30),
    seed=st.integers(0, 1_000),
)
def test_copies_are_the_expected_number_rounded(weights: list[float], length: int, seed: int) -> None:
    weight, counts = np.asarray(weights), np.full(len(weights), float(length))
    expected = weight * len(weights) / weight.sum()
    found = copies(weight, counts, seed)
    assert (np.abs(found - expected) < 1 + 1e-9).all()
    assert abs(found.sum() - len(weights)) <= 1


def test_sampling_gives_each_token_its_weight_on_average() -> None:
    lengths, weights = np.array([3, 9, 5, 20, 8, 15]), np.array([0.2, 1.0, 3.0, 0.5, 1.3, 0.7])
    counts = (lengths + 1).astype(np.float64)
    documents = _tokenised(lengths.tolist())
    owner = np.repeat(np.arange(6), lengths)
    seen = np.zeros(6)
    for seed in range(400):
        packed = pack_tokens(documents, weights, EOS, 16, seed, "sampling")
        used = packed.tokens[packed.loss_weight > 0]
        seen += np.bincount(owner[used[used != EOS] - 1], minlength=6) / lengths
        assert set(np.unique(packed.loss_weight)) <= {0.0, 1.0}
        assert packed.n_documents <= 6
    expected = weights * counts.sum() / (weights * counts).sum()
    np.testing.assert_allclose(seen / 400, expected, atol=0.08)
