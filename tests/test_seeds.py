from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.seeds import derive, generator, unit_hash

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(st.lists(HEX, min_size=1, max_size=50), st.integers(0, 2**40))
def test_unit_hash_depends_on_the_id_and_the_seed_alone(ids: list[str], seed: int) -> None:
    values = unit_hash(ids, seed)
    assert ((values > 0) & (values < 1)).all()
    assert np.array_equal(values[::-1], unit_hash(ids[::-1], seed))
    assert values[0] == unit_hash(pl.Series(ids[:1]), seed)[0]


@given(HEX, st.integers(0, 31), st.characters(max_codepoint=127))
def test_other_characters_are_refused(text: str, place: int, character: str) -> None:
    changed = text[:place] + character + text[place + 1 :]
    if character in "0123456789abcdefABCDEF":
        assert unit_hash([changed], 1) == unit_hash([changed.lower()], 1)
    else:
        with pytest.raises(DataError, match="no hexadecimal digit"):
            unit_hash([changed], 1)


def test_words_are_the_numbers_that_the_ids_write() -> None:
    """The low and the high half, mixed by splitmix64, computed by Python's whole numbers."""
    text, most = "0123456789abcdeffedcba9876543210", (1 << 64) - 1
    mixed = (int(text[:16], 16) ^ int(text[16:], 16) ^ derive(1, "unit_hash")) + 0x9E3779B97F4A7C15 & most
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & most
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & most
    assert unit_hash([text], 1)[0] == (((mixed ^ mixed >> 31) >> 11) + 0.5) / (1 << 53)


def test_unit_hash_is_uniform_and_seeds_are_independent() -> None:
    ids = [f"{number:032x}" for number in range(20_000)]  # ids that differ in a few bits only
    one, two = unit_hash(ids, 1), unit_hash(ids, 2)
    counts = np.histogram(one, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1_000).max() < 5 * np.sqrt(1_000)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03


def test_streams_are_derived_by_name() -> None:
    assert derive(1, "a", 2) == derive(1, "a", 2)
    assert len({derive(1, "a", 2), derive(1, "a", "2"), derive(1, "a2"), derive(2, "a", 2), derive(1, 2, "a")}) == 5
    assert generator(1, "a").random() != generator(1, "b").random()
