from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss

from curation_pipeline.errors import DataError
from curation_pipeline.reward.fairness import (
    FAIRNESS_SCHEMA,
    bnsp_auc,
    bpsn_auc,
    fairness_table,
    subgroup_auc,
)
from curation_pipeline.reward.metrics import (
    auroc,
    bootstrap,
    brier,
    expected_calibration_error,
    paired_bootstrap,
    reliability_table,
    wilson,
)


def _texts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated probabilities, but those of group g are raised."""
    random = np.random.default_rng(seed)
    p = random.beta(1.0, 2.0, n)
    y = (random.random(n) < p).astype(float)
    group = np.where(random.random(n) < 0.3, "g", "none")
    return np.where(group == "g", 0.5 + 0.5 * p, p), y, group


def _pairs(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of pairs that are in order, counted one by one."""
    wins = [
        1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
        for i in np.flatnonzero(positive)
        for j in np.flatnonzero(negative)
    ]
    return float(np.mean(wins))


def test_areas_count_pairs_of_the_right_texts() -> None:
    p, y, group = _texts(120, seed=0)
    p = p.round(1)
    inside = group == "g"
    assert subgroup_auc(p, y, inside) == pytest.approx(_pairs(p, inside & (y == 1), inside & (y == 0)))
    assert bpsn_auc(p, y, inside) == pytest.approx(_pairs(p, ~inside & (y == 1), inside & (y == 0)))
    assert bnsp_auc(p, y, inside) == pytest.approx(_pairs(p, inside & (y == 1), ~inside & (y == 0)))


def test_a_group_that_is_over_predicted_shows() -> None:
    p, y, group = _texts(3000, seed=1)
    found = fairness_table(p, y, group, seed=0, resamples=50)
    assert dict(found.schema) == FAIRNESS_SCHEMA
    value = {(metric, name): v for metric, name, v in found.select("metric", "group", "value").iter_rows()}
    assert value["bpsn_auc", "g"] < value["subgroup_auc", "g"] < value["bnsp_auc", "g"]
    assert value["calibration_gap", "g"] == pytest.approx((p - y)[group == "g"].mean())
    assert value["ece", "g"] > 0.2 > 0.05 > value["ece", "none"]
    assert ("bpsn_auc", "none") not in value
    assert (found["ci_low"] <= found["value"] + 0.02).all()
    with pytest.raises(DataError, match="do not match"):
        fairness_table(p, y[:5], group, seed=0)


def test_wilson_intervals_are_those_of_scipy() -> None:
    exact = binomtest(15, 20).proportion_ci(method="wilson")
    assert wilson(0.75, 20) == pytest.approx((exact.low, exact.high), abs=1e-4)


def test_metrics_agree_with_their_definitions() -> None:
    p, y, _ = _texts(1000, seed=2)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p))
    table = reliability_table(p, y)
    assert table["n"].to_list() == [100] * 10
    gaps = (table["observed"] - table["mean_p"]).abs()
    assert float((gaps * table["n"]).sum() / 1000) == pytest.approx(expected_calibration_error(p, y))
    assert (table["ci_low"] <= table["observed"]).all()
    assert (table["upper"][:-1].to_numpy() <= table["lower"][1:].to_numpy()).all()


def test_pairing_sees_differences_that_intervals_hide() -> None:
    random = np.random.default_rng(3)
    p, y, _ = _texts(600, seed=3)
    worse = np.clip(p + random.normal(0.0, 0.08, 600), 0.0, 1.0)
    gain = paired_bootstrap(auroc, p, worse, y, seed=0, resamples=200)
    alone = bootstrap(auroc, p, y, seed=0, resamples=200)
    assert gain.value == pytest.approx(auroc(p, y) - auroc(worse, y))
    assert gain.low > 0
    assert gain.high - gain.low < 0.7 * (alone.high - alone.low)
    assert paired_bootstrap(auroc, p, p, y, seed=0, resamples=20).high == 0.0
