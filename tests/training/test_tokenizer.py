from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from curation_pipeline.training.byte_pairs import byte_pairs
from curation_pipeline.training.tokenizer import EOS, count_tokens, encode, load_tokenizer, tokenise
from tests.annotate.hostile import made_of
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


@pytest.mark.parametrize("digits_apart", [False, True])
@given(texts=st.lists(made_of(["'s", "'re", "'ll", " mill", "9", "  "]), min_size=1, max_size=8))
def test_many_texts_have_the_tokens_of_the_library(folder: Path, digits_apart: bool, texts: list[str]) -> None:
    backend = load_tokenizer(folder).backend_tokenizer
    backend.encode_special_tokens = True
    if digits_apart:
        first = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    texts = [*texts, f"a{EOS} b", "the mill " * 40 + "e" * 300, "  " * 200]
    pairs = byte_pairs(backend)
    assert pairs is not None
    (found,) = pairs.pieces(pl.Series(texts))
    wanted = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
    assert found.lengths.tolist() == [len(ids) for ids in wanted]
    spelt = [found.tokens[found.ends[code] : found.ends[code + 1]] for code in found.codes]
    assert np.concatenate(spelt).tolist() == [token for ids in wanted for token in ids]


def test_tokenizers_that_divide_in_another_way_are_left_to_the_library(folder: Path) -> None:
    many = [f"The {number}th old mill" for number in range(2_000)]
    tokenizer = load_tokenizer(folder)
    backend = tokenizer.backend_tokenizer
    counts = count_tokens(many, tokenizer)
    assert counts.tolist() == encode(many, tokenizer).counts.tolist()
    backend.normalizer = normalizers.Lowercase()
    assert byte_pairs(backend) is None
    assert count_tokens(many, tokenizer)[7] == len(backend.encode(many[7].lower()).ids) + 1


def test_counts_hold_the_closing_token_and_take_keeps_texts(folder: Path) -> None:
    texts = ["the old mill", "", "two boats went past"]
    counts = count_tokens(texts, load_tokenizer(folder))
    assert counts.dtype == np.int32
    assert counts[1] == 1
    tokenised = tokenise(texts, folder)
    taken = tokenised.take(np.array([2, 0, 1, 2]))
    for place, index in enumerate([2, 0, 1, 2]):
        np.testing.assert_array_equal(taken[place], tokenised[index])
