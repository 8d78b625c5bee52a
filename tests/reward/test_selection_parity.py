"""Selection parity: inside sources, with intervals, and what has no figure."""

import numpy as np
import polars as pl
import pytest

from curation_pipeline.reward.parity import PARITY_SCHEMA, selection_parity


def figures(pool: pl.DataFrame, drawn: np.ndarray) -> dict[str, tuple[float, float, float]]:
    found = selection_parity(pool.with_columns(drawn=pl.Series(drawn)))
    return {row["identity_group"]: (row["parity"], row["parity_low"], row["parity_high"]) for row in found.to_dicts()}


def test_parity_is_measured_inside_sources() -> None:
    rng = np.random.default_rng(0)
    n = 8_000
    source = rng.integers(0, 2, n)
    group = rng.random(n) < np.where(source == 1, 0.6, 0.1)
    # The second source is drawn a quarter as often, and so are its groups; inside sources all are equal.
    chance = np.where(source == 1, 0.1, 0.4)
    drawn = rng.random(n) < chance
    pool = pl.DataFrame(
        {
            "source": np.where(source == 1, "forum", "wiki"),
            "identity_group": np.where(group, "gender", "none"),
            "p_harm": np.where(rng.random(n) < 0.2, 0.9, 0.05),
        }
    )
    value, low, high = figures(pool, drawn)["gender"]
    assert low < 1.0 < high
    assert 0.85 < value < 1.15
    assert figures(pool, chance)["gender"][0] == pytest.approx(1.0), "probabilities serve as well as draws"
    neglected = drawn & ~(group & (rng.random(n) < 0.5))
    value, low, high = figures(pool, neglected)["gender"]
    assert low < 0.5 < high < 0.7


def test_a_group_of_which_nothing_is_drawn_has_a_parity_of_zero() -> None:
    groups = ["none"] * 400 + ["religion"] * 200 + ["race"] * 120 + ["gender"] * 50
    pool = pl.DataFrame({"source": "wiki", "identity_group": groups, "p_harm": 0.0})
    drawn = np.zeros(len(groups), dtype=bool)
    drawn[:200] = drawn[400:480] = True
    found = selection_parity(pool.with_columns(drawn=pl.Series(drawn)))
    assert found.schema == PARITY_SCHEMA
    assert found.select("identity_group", "documents", "rate", "parity").rows() == [
        ("race", 120, 0.0, 0.0),
        ("religion", 200, 0.4, pytest.approx(0.8)),
    ], "gender has too few texts"
    low, high = found.select("parity_low", "parity_high").row(0)
    assert low == 0.0
    assert 0.01 < high < 0.3
    # One source: the interval of Katz, sqrt(1/80 - 1/200 + 1/200 - 1/400) = .1, up to small terms.
    assert found.select("parity_low", "parity_high").row(1) == pytest.approx((0.657, 0.973), abs=0.02)
    nothing = np.array(groups) != "none"
    assert figures(pool, nothing) == {}, "nothing without a group is drawn"
