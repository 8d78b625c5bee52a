"""Judge and teacher: what is measured of their distance, with intervals that hold."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.reward.divergence import CORRELATION, GAP, SCHEMA, divergence, trend


def rows(teacher: np.ndarray, judge: np.ndarray) -> dict[str, dict[str, float]]:
    frame = divergence("generations", teacher, judge)
    assert dict(frame.schema) == SCHEMA
    return {row["measure"]: row for row in frame.iter_rows(named=True)}


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(300):
        teacher = rng.random(200)
        judge = np.where(rng.random(200) < 0.8, teacher, rng.random(200) ** 2)
        gap = rows(teacher, judge)[GAP]
        # Of a fifth of the texts the judge flags 1 - sqrt(.5) and the teacher one half, independently.
        inside.append(gap["ci_low"] <= 0.2 * (1 - np.sqrt(0.5) - 0.5) <= gap["ci_high"])
    assert 0.91 < np.mean(inside) <= 0.99


def test_the_correlation_is_of_ranks() -> None:
    teacher = np.linspace(0.01, 0.99, 50)
    found = rows(teacher, teacher**7)[CORRELATION]
    assert found["value"] == pytest.approx(1.0)
    assert 0.9 < found["ci_low"] <= found["ci_high"] <= 1
    turned = rows(teacher, 1 - teacher)[CORRELATION]
    assert turned["value"] == pytest.approx(-1.0)
    flat = rows(teacher, np.full(50, 0.2))
    assert flat[CORRELATION]["value"] is None
    assert flat[GAP]["value"] == pytest.approx(-0.5)
    assert rows(teacher[:2], teacher[:2])[GAP]["value"] is None
    with pytest.raises(DataError, match="finite"):
        divergence("generations", teacher, np.full(50, np.nan))


def test_a_gap_that_grows_is_a_trend() -> None:
    found = trend(
        [1, 2, 3, 4], [0.0, 0.03, 0.06, 0.09], *[[x + d for x in (0.0, 0.03, 0.06, 0.09)] for d in (-0.02, 0.02)]
    )
    assert found is not None
    assert found.slope == pytest.approx(0.03)
    assert found.low > 0
    assert found.widened(0.05)
    assert not found.widened(0.1)
    one = trend([1], [0.4], [0.3], [0.5])
    assert one is not None
    assert not one.widened(0.0), "one iteration shows no trend"
    assert trend([], [], [], []) is None
    shrinking = trend([1, 2], [-0.2, -0.1], [-0.3, -0.2], [-0.1, 0.0])
    assert shrinking is not None
    assert shrinking.widening < 0
    assert pl.DataFrame(schema=SCHEMA).height == 0
