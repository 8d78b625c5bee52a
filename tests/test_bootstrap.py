"""Bootstrap intervals against normal theory, and statistics without items."""

import math

import numpy as np
import pytest

from curation_pipeline.bootstrap import Bootstrap, percentiles, resample


def test_intervals_agree_with_normal_theory() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    half = 1.96 * values.std() / math.sqrt(400)
    wanted = (values.mean() - half, values.mean() + half)
    found = Bootstrap(3, 2_000, 0.95).mean(values, "test")
    assert (found.low, found.high) == pytest.approx(wanted, abs=0.02)
    value, draws = resample(np.mean, (values,), np.random.default_rng(4), 2_000)
    assert value == values.mean()
    assert percentiles(draws).tolist() == pytest.approx(wanted, abs=0.02)


def test_rows_drawn_one_resample_at_a_time_are_those_drawn_at_once() -> None:
    values = np.arange(37.0)
    bootstrap = Bootstrap(5, 50, 0.95)
    _, draws = resample(np.mean, (values,), bootstrap.rng("test"), 50)
    rows = bootstrap.rows(37, "test")
    assert np.array_equal(draws, values[rows].mean(axis=1))


def test_no_items_have_no_interval() -> None:
    value, draws = resample(np.mean, (np.empty(0),), np.random.default_rng(4), 10)
    assert math.isnan(value)
    assert draws.size == 0
    assert np.isnan(percentiles(draws)).all()
