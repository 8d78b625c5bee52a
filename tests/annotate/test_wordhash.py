from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.wordhash import hash_words, word_hashes, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't  STOP\u2014the don\u2019t!", ["dont", "stop", "the", "dont"]),
        ("Café cafe\u0301 na\u200bïve", ["cafe", "cafe", "naive"]),
        ("<b>x&amp;y</b>", ["b", "x", "amp", "y", "b"]),
        ("我们ok", ["我", "们", "ok"]),
        ("\uff21\uff22\uff23 \ufb01ne \u2167", ["abc", "\ufb01ne", "\u2177"]),
        ("\u0663 12,345", ["3", "12", "345"]),
        (
            "jam\u0e44\u0e21\u0e48jam jam\ub97c \u0438jam1\u0438",
            ["jam", "\u0e44", "\u0e21", "\u0e48", "jam", "jam", "\ub97c", "\u0438", "jam1", "\u0438"],
        ),
        (
            "\u0915\u093f \u0430\u0301 \u05d0\u05b8 \uff76 x\u00b2\uac00",
            ["\u0915\u093f", "\u0430", "\u05d0", "\u30ab", "x2", "\uac00"],
        ),
        ("\u304c \u304b\u3099 \u304b \uac00 \u1100\u1161", ["\u304c", "\u304c", "\u304b", "\uac00", "\uac00"]),
        (" \n\t...\U0001f600 ", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_runs_of_digits_fold_to_one() -> None:
    assert words("born 12/03/1999, ab12cd345", fold_digits=True) == ["born", "0", "0", "0", "ab0cd0"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8), st.booleans())
def test_the_kernel_hashes_the_words_of_the_plain_route(texts: list[str], fold: bool) -> None:
    hashes, offsets = word_hashes(pl.Series(texts, dtype=pl.Utf8), fold)
    divided = [words(text, fold) for text in texts]
    assert np.diff(offsets).tolist() == [len(part) for part in divided]
    np.testing.assert_array_equal(hashes, hash_words([word for part in divided for word in part]))


def test_every_code_point_has_the_same_fate_by_both_routes() -> None:
    points = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    texts = ["x".join(points[i : i + 256]) for i in range(0, len(points), 256)]
    hashes, offsets = word_hashes(pl.Series(texts))
    divided = [words(text) for text in texts]
    assert np.diff(offsets).tolist() == [len(part) for part in divided]
    np.testing.assert_array_equal(hashes, hash_words([word for part in divided for word in part]))


def test_a_slice_and_a_null_are_read_where_they_lie() -> None:
    series = pl.Series(["one two", None, "", "three", "four five six"])
    hashes, offsets = word_hashes(series.slice(1, 3))
    assert offsets.tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(hashes, hash_words(["three"]))


def test_plain_english_is_divided_at_anything_but_letters_and_digits() -> None:
    text = "A plain, ordinary sentence -- with (brackets) and 3 numbers; e.g. 42."
    assert words(text) == re.findall(r"[a-z0-9]+", text.lower())
