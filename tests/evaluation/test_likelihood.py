from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.likelihood import _windows, continuation_likelihood, text_likelihood
from curation_pipeline.evaluation.model import LanguageModel
from tests.training.tiny_model import build, sentences


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(build(tmp_path_factory.mktemp("likelihood")), window=32)


def _plain(lm: LanguageModel, ids: list[int], skip: int) -> float:
    """One token after another, each from a forward pass of its own over what stands before it."""
    total = 0.0
    with torch.inference_mode():
        for place in range(skip, len(ids)):
            inputs = torch.tensor([[lm.bos_id, *ids[:place]]])
            total += float(torch.log_softmax(lm.model(input_ids=inputs).logits[0, -1].double(), -1)[ids[place]])
    return total


def test_texts_score_as_in_a_plain_loop(lm: LanguageModel) -> None:
    texts = [text[:40] for text in sentences(9, seed=4)]
    found = text_likelihood(lm, texts, batch_tokens=64)
    expected = [_plain(lm, lm.tokenizer(text)["input_ids"], 0) for text in texts]
    np.testing.assert_allclose(found.log_likelihood, expected, rtol=1e-5)
    np.testing.assert_allclose(
        found.per_byte, [e / len(text) for e, text in zip(expected, texts, strict=True)], rtol=1e-5
    )


def test_continuations_score_as_in_a_plain_loop(lm: LanguageModel) -> None:
    contexts = ["the old mill", "", "two boats", "by the river — a"]
    continuations = [" went slowly past.", "a quiet town", " near.", " bridge ünder"]
    found = continuation_likelihood(lm, contexts, continuations)
    for index, (context, continuation) in enumerate(zip(contexts, continuations, strict=True)):
        ids = lm.tokenizer(context + continuation)["input_ids"]
        skip = len(lm.tokenizer(context)["input_ids"]) if context else 0
        assert found.log_likelihood[index] == pytest.approx(_plain(lm, ids, skip), rel=1e-5)
        assert found.n_tokens[index] == len(ids) - skip
        assert found.n_bytes[index] == len(continuation.encode())


@pytest.mark.parametrize("architecture", ["attention", "recurrence"])
def test_endings_of_one_context_score_as_in_a_plain_loop(
    lm: LanguageModel, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(lm.model), "_is_stateful", architecture == "recurrence")
    assert lm.takes_any_mask == (architecture == "attention")
    contexts = ["two boats went slowly past the old stone mill", "the river"]
    endings = [".", " near town.", " bridge under the town", " by the river near a quiet old stone mill.", " a quiet"]
    pairs = [(context, ending) for ending in endings for context in contexts]
    found = continuation_likelihood(lm, [c for c, _ in pairs], [e for _, e in pairs], batch_tokens=128)
    for value, (context, ending) in zip(found.log_likelihood, pairs, strict=True):
        ids, skip = lm.tokenizer(context + ending)["input_ids"], len(lm.tokenizer(context)["input_ids"])
        assert value == pytest.approx(_plain(lm, ids, skip), rel=1e-5)


def test_a_text_does_not_depend_on_its_batch(lm: LanguageModel) -> None:
    texts = [" ".join(sentences(size, seed=size)) for size in (1, 2, 8, 3)]
    together = text_likelihood(lm, texts, batch_tokens=4_096).log_likelihood
    alone = [text_likelihood(lm, [text], batch_tokens=16).log_likelihood[0] for text in texts]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


@given(length=st.integers(1, 60), size=st.integers(1, 20), data=st.data())
def test_windows_predict_each_token_once(length: int, size: int, data: st.DataObject) -> None:
    skip = data.draw(st.integers(0, length - 1))
    windows = _windows(0, skip, length, size)
    assert [token for window in windows for token in range(window.first, window.end)] == list(range(skip, length))
    assert all(0 <= window.start <= window.first and window.end - window.start <= size for window in windows)


def test_an_empty_text_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(DataError, match="text 1"):
        text_likelihood(lm, ["the mill", ""])
