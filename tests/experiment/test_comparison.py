from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.experiment.comparison import relative_reduction


def generations(harmful: list[bool], samples: int = 3) -> pl.DataFrame:
    rows = [
        {"prompt_id": f"p{index}", "score": 0.9 if bad and sample == 0 else 0.1}
        for index, bad in enumerate(harmful)
        for sample in range(samples)
    ]
    return pl.DataFrame(rows)


def test_half_as_many_harmful_prompts_is_a_reduction_of_one_half() -> None:
    base = generations([index < 200 for index in range(400)])
    ours = generations([index < 100 for index in range(400)])
    found = relative_reduction([ours], [base], np.random.default_rng(0))
    assert found.rate == 0.25
    assert found.baseline_rate == 0.5
    assert found.reduction == pytest.approx(0.5, abs=0.002)
    # Paired on prompts: the delta method gives a standard error of .0354 here, not the unpaired .050.
    assert (found.ci_high - found.ci_low) / 2 == pytest.approx(1.96 * 0.0354, rel=0.12)


def test_equal_arms_have_no_reduction_and_a_tight_interval() -> None:
    frame = generations([index % 3 == 0 for index in range(90)])
    found = relative_reduction([frame], [frame], np.random.default_rng(0))
    assert (found.reduction, found.ci_low, found.ci_high) == (0.0, 0.0, 0.0)


def test_a_baseline_without_harm_gives_no_infinity() -> None:
    found = relative_reduction([generations([True, False])], [generations([False, False])], np.random.default_rng(0))
    assert np.isfinite([found.reduction, found.ci_low, found.ci_high]).all()
    assert found.reduction < 0


def test_different_prompts_are_refused() -> None:
    with pytest.raises(DataError, match="different prompts"):
        relative_reduction([generations([True])], [generations([True, False])], np.random.default_rng(0))
