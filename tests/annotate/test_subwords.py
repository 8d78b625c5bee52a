from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.subwords import inverse_document_frequency, subword_features
from curation_pipeline.annotate.wordhash import hash_words, words

BITS = 18


def pieces(word: str) -> list[str]:
    edged = f" {word} "
    return [edged[i : i + n] for n in (3, 4, 5) for i in range(len(edged) - n + 1)]


@settings(max_examples=25)
@given(st.lists(st.text("abc xyz'-d\u00e9 \u0448\u65e5", max_size=40), min_size=1, max_size=4))
def test_the_features_are_those_of_a_plain_count(texts: list[str]) -> None:
    found = subword_features(pl.Series(texts), BITS)
    for row, text in enumerate(texts):
        inside = slice(found.indptr[row], found.indptr[row + 1])
        columns, values = found.indices[inside], found.data[inside]
        parts = words(text)
        first = Counter([*parts, *pairwise(parts)])
        second = Counter(piece for part in parts for piece in pieces(part))
        for block, counts in ((values[columns < 1 << BITS], first), (values[columns >= 1 << BITS], second)):
            length = math.sqrt(sum(counts.values()))
            expected = sorted(math.sqrt(count) / length for count in counts.values())
            # Hashing may let two features share a bucket, which so many of them make rare among so few.
            if len(block) == len(expected):
                np.testing.assert_allclose(np.sort(block), expected, rtol=1e-6)
            else:
                assert len(expected) - len(block) == 1


def test_equal_words_have_equal_features_whatever_stands_around() -> None:
    same = subword_features(pl.Series(["Idiot!", "  idiot", "\u00cddiot"]), BITS).toarray()
    assert (same == same[0]).all()
    apart = subword_features(pl.Series(["st*pid", "st pid", "stpid"]), BITS).toarray()
    assert not (apart[0] == apart[1]).all()
    assert not (apart[0] == apart[2]).all()


def test_the_features_stay_what_they_were() -> None:
    """Models on disk depend on them: a change here is another ``subwords.VERSION``."""
    found = subword_features(pl.Series(["you are, 12 idiots"]), 12)
    assert found.indices[:7].tolist() == [421, 1434, 1597, 1785, 2043, 2391, 2423]
    by_another_route = (hash_words(["you", "are", "0", "idiots"]) >> np.uint64(17)) & np.uint64((1 << 12) - 1)
    assert set(by_another_route.tolist()) <= set(found.indices.tolist())


def test_rows_depend_on_their_own_text_and_weights_scale_them() -> None:
    texts = pl.Series(["a first text", "", "a second text about something else"])
    alone = subword_features(texts[2:], BITS).toarray()[0]
    assert (subword_features(texts, BITS).toarray()[2] == alone).all()
    weights = inverse_document_frequency(subword_features(texts, BITS), least=2)
    weighted = subword_features(texts, BITS, weights)
    assert set(weighted[0].indices) == set(weighted[2].indices) & set(weighted[0].indices)
    assert weighted[1].nnz == 0
