from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.seeds import derive, generator, unit_hash

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(st.lists(HEX, min_size=1, max_size=50), st.integers(0, 2**40))
def test_unit_hash_depends_on_the_id_and_the_seed_alone(ids: list[str], seed: int) -> None:
    values = unit_hash(ids, seed)
    assert ((values > 0) & (values < 1)).all()
    assert np.array_equal(values[::-1], unit_hash(ids[::-1], seed))
    assert values[0] == unit_hash(pl.Series(ids[:1]), seed)[0]


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
