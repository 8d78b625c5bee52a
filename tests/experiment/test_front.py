from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.experiment.front import non_dominated, pareto_front

GRID = st.integers(0, 4)


def candidates(points: list[tuple[float, float]], half: float | None = 0.01) -> pl.DataFrame:
    frame = pl.DataFrame(points, schema=["safety", "capability"], orient="row").with_row_index("model")
    return frame.with_columns(
        (pl.col(axis) + sign * half if half is not None else pl.lit(None, pl.Float64)).alias(f"{axis}_{end}")
        for axis in ("safety", "capability")
        for end, sign in (("low", -1), ("high", 1))
    )


@given(st.lists(st.tuples(GRID, GRID), min_size=1, max_size=12))
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    wanted = [not any(a >= s and b >= c and (a, b) != (s, c) for a, b in points) for s, c in points]
    s, c = np.array(points, dtype=float).T
    assert non_dominated(s, c).tolist() == wanted


def test_the_highest_p_on_the_front_is_chosen() -> None:
    found = pareto_front(candidates([(0.5, 0.5), (0.9, 0.4), (0.6, 0.68), (0.55, 0.7)]), np.random.default_rng(0))
    assert found["on_front"].to_list() == [False, True, True, True]
    assert found["chosen"].to_list() == [False, True, False, False]
    assert found["performance"][1] == pytest.approx(0.65)
    assert found["chosen_share"].sum() == pytest.approx(1.0)
    # .01 apart in P, with a standard error of .0036 in each: z = .01 / .0051.
    assert found["chosen_share"][1] == pytest.approx(0.975, abs=0.02)


def test_a_choice_between_equals_says_that_it_is_chance() -> None:
    found = pareto_front(candidates([(0.7, 0.5), (0.5, 0.7), (0.2, 0.2)], 0.05), np.random.default_rng(0))
    assert found["chosen"].to_list() == [True, False, False]
    assert found["chosen_share"].to_list() == pytest.approx([0.5, 0.5, 0.0], abs=0.04)
    assert found["front_share"].to_list()[2] == 0.0
    exact = pareto_front(candidates([(0.7, 0.5), (0.2, 0.2)], None), np.random.default_rng(0))
    assert exact["chosen_share"].to_list() == [1.0, 0.0]
    with pytest.raises(DataError, match="no model"):
        pareto_front(candidates([]).clear(), np.random.default_rng(0))
