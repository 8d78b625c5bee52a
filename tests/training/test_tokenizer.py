from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.training.tokenizer import EOS, count_tokens, encode, load_tokenizer, tokenise
from tests.training.tiny_model import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tokenizer"))


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_any_text_survives_and_no_text_makes_an_end_of_text(folder: Path, texts: list[str]) -> None:
    tokenizer = load_tokenizer(folder)
    tokenised = encode([*texts, f"a {EOS} b"], tokenizer)
    for index, text in enumerate([*texts, f"a {EOS} b"]):
        assert tokenizer.backend_tokenizer.decode(tokenised[index].tolist()) == text
    assert tokenizer.eos_token_id not in tokenised.tokens


def test_counts_hold_the_closing_token_and_take_keeps_texts(folder: Path) -> None:
    texts = ["the old mill", "", "two boats went past"]
    counts = count_tokens(texts, folder)
    assert counts.dtype == np.int32
    assert counts[1] == 1
    tokenised = tokenise(texts, folder)
    taken = tokenised.take(np.array([2, 0, 1, 2]))
    for place, index in enumerate([2, 0, 1, 2]):
        np.testing.assert_array_equal(taken[place], tokenised[index])
