from __future__ import annotations

import hashlib
import re
import unicodedata

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.datasets.text import (
    KEY_CHARS,
    near_duplicate_units,
    normalise_key,
    normalised_keys,
    starts_with_key,
    text_ids,
)

# No lone surrogates: the readers quarantine them before any of this runs.
TEXT = st.text(st.characters(codec="utf-8"), max_size=400)


def test_golden_ids() -> None:
    # From `printf 'caf\xc3\xa9' | sha256sum` and `printf '' | sha256sum`.
    ids = text_ids(pl.Series(["caf\u00e9", "cafe\u0301", ""])).to_list()
    assert ids == ["850f7dc43910ff890f8879c0ed26fe69"] * 2 + ["e3b0c44298fc1c149afbf4c8996fb924"]


@given(st.lists(TEXT, max_size=5))
def test_ids_agree_with_the_standard_library(texts: list[str]) -> None:
    wanted = [hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()[:32] for text in texts]
    assert text_ids(pl.Series(texts, dtype=pl.Utf8)).to_list() == wanted


@given(st.lists(TEXT, max_size=5))
def test_keys_hold_the_first_letters_and_digits(texts: list[str]) -> None:
    for text, key in zip(texts, normalised_keys(pl.Series(texts, dtype=pl.Utf8)).to_list(), strict=True):
        assert key == normalise_key(text)
        assert len(key) <= KEY_CHARS
        assert key == "" or key.isalnum()
        if text.isascii():
            assert key == re.sub("[^a-z0-9]", "", text.lower())[:KEY_CHARS]


def test_key_ignores_case_punctuation_and_far_lying_letters() -> None:
    assert normalise_key("You're an *IDIOT*, Bob!") == normalise_key("youre an idiot bob")
    assert normalise_key(" . " * 500 + "Late") == "late"
    assert normalise_key("cafe\u0301") == normalise_key("caf\u00e9") != normalise_key("cafe")
    assert len({normalise_key(word) for word in ("ไม่", "ไม้", "ไม", "की", "कि", "क")}) == 6


def test_prefix_of_the_pool_row_is_found_whatever_its_length() -> None:
    keys = [normalise_key(text) for text in ("The mayor said that the plan", "short one", "x" * 80)]
    rows = ["the Mayor said: that the plan had failed", "short one", "short one and more", "x" * 61, "The mayor said"]
    assert starts_with_key(pl.Series(rows), keys).to_list() == [True, True, False, True, False]
    assert starts_with_key(pl.Series(["...", "!"]), ["", normalise_key("?")]).to_list() == [False, False]


def test_near_duplicates_share_their_unit() -> None:
    units = near_duplicate_units(pl.Series(["Go away, Bob.", "go away bob", "...", "!!!"]), 3).to_list()
    assert units[0] == units[1]
    assert units[2] != units[3]
