"""Left-out probes are predicted where the composition decides, and not where it does not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.credit.surrogate import fit_credit
from curation_pipeline.seeds import generator
from curation_pipeline.stages.credit_report import _r2, leave_one_out

STRATA = ("t0|b0|none", "t0|b1|none", "t1|b0|none", "t1|b1|gender")


def probes(noise: float) -> tuple[pl.DataFrame, np.ndarray]:
    """30 probes on two bases whose levels differ, half of them an iteration old."""
    rng = generator(0, "probes")
    shares = rng.dirichlet(np.full(len(STRATA), 2.0), size=30)
    base = np.array(["a", "b"] * 15)
    performance = 0.3 * shares[:, 0] - 0.5 * shares[:, 3] + noise * rng.standard_normal(30) + 0.4 * (base == "b")
    frame = pl.DataFrame(
        {
            "probe": [f"probe-{i:02d}" for i in range(30)],
            "base": base,
            "strata": [list(STRATA)] * 30,
            "shares": shares.tolist(),
            "performance": performance,
        }
    )
    return frame, np.repeat([0.0, 1.0], 15)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.005, 0.8, 1.0), (2.0, -2.0, 0.3)])
def test_leave_one_out_sees_signal_and_its_absence(noise: float, low: float, high: float) -> None:
    outcomes, ages = probes(noise)
    settings = CreditSettings()
    credit = fit_credit(outcomes, STRATA, np.full(4, 0.25), ages, settings)
    found = leave_one_out(outcomes, ages, credit, settings)
    assert found.height == 30
    r2, interval = _r2(found, 0)
    assert r2 is not None
    assert interval is not None
    assert low < r2 < high
    assert interval[0] <= r2 <= interval[1]
    assert r2 == pytest.approx(credit.r2, abs=0.05) or noise > 1, "the R2 that scales the credit tells the same"


def test_too_few_probes_say_nothing() -> None:
    outcomes, ages = probes(0.1)
    settings = CreditSettings()
    few = outcomes.head(settings.min_probes)
    credit = fit_credit(few, STRATA, np.full(4, 0.25), ages[: few.height], settings)
    assert leave_one_out(few, ages[: few.height], credit, settings).is_empty()
