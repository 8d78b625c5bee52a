"""The draw of a billion documents, by its histograms alone (benchmarks/draw_at_scale.py)."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from curation_pipeline.installation import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "benchmarks"))
from draw_at_scale import one_by_one, simulate


def test_histograms_alone_draw_what_documents_one_by_one_draw() -> None:
    simulated = [simulate(10**6, seed) for seed in range(3)]
    real = [one_by_one(10**6, seed) for seed in range(3)]
    assert np.mean([s["shift"] for s in simulated]) == pytest.approx(np.mean([r["shift"] for r in real]), abs=0.01)
    for found in (*simulated, *real):
        assert 0 <= found["tokens_short"] < 4_096
        assert found["rank_threshold"] == pytest.approx(1.0, abs=0.04)  # 40,000 are drawn: five standard deviations


def test_a_billion_documents_meet_the_budget_as_their_probabilities_say() -> None:
    found = simulate(10**9, 0)
    assert found["expected_tokens_over_budget"] == pytest.approx(1.0, abs=1e-9)
    assert 0 <= found["tokens_short"] < found["longest_document"]
    assert found["calibration_error"] < 0.003
    assert found["bytes_of_log_odds"] + found["bytes_of_ranks"] < 10e6
    assert found["rows_of_the_last_bin"] < 100_000
