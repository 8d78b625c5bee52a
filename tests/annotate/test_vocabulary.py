from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from curation_pipeline.annotate.vocabulary import TOKEN, word_counts
from tests.annotate.hostile import made_of

WORDS = ("mill", "the", "été", "ss", "i̇s", "τος", "00", "a_b")


@given(st.lists(made_of(list(WORDS)), min_size=1, max_size=5))
def test_counts_are_those_of_scikit_learn(texts: list[str]) -> None:
    found = word_counts(pl.Series(texts), WORDS, np.float32)
    wanted = CountVectorizer(vocabulary=WORDS, token_pattern=TOKEN, dtype=np.float32).transform(texts)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert found.dtype == wanted.dtype
