"""Dual ascent: bounded, on the simplex, projected at 0, forgetting, backing off, and never without a reason."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.reward.composite import RewardWeights
from curation_pipeline.reward.constraints import source_ratios
from curation_pipeline.reward.duals import Duals, ascend
from curation_pipeline.reward.evidence import Evidence, Move, Ratio, Tradeoff
from curation_pipeline.reward.refine import Refined, refine
from curation_pipeline.reward.refinement_settings import RefinementSettings
from curation_pipeline.reward.settings import RewardSettings

REWARD, SETTINGS = RewardSettings(), RefinementSettings()
TARGETS = {"safety": 0.9, "alignment": 0.6, "capability": 0.5}
FINE = {"safety": 0.95, "alignment": 0.7, "capability": 0.5}


def run(now: dict[str, float], before: dict[str, float] | None = None, duals: Duals | None = None) -> Refined:
    evidence = Evidence(now, before or {}, TARGETS)
    return refine(RewardWeights(), duals or Duals(), {}, evidence, REWARD, SETTINGS)


def vector(weights: RewardWeights) -> np.ndarray:
    return np.array([weights.alpha, weights.beta, weights.gamma])


@st.composite
def _weights(draw: st.DrawFn) -> RewardWeights:
    raw = np.array(draw(st.tuples(*[st.floats(0.1, 1.0)] * 3)))
    raw = 0.85 * raw / raw.sum() + 0.05
    return RewardWeights(float(raw[0]), float(raw[1]), 1.0 - float(raw[0]) - float(raw[1]))


_METRICS = st.fixed_dictionaries({}, optional=dict.fromkeys(TARGETS, st.floats(-1, 2)))
_RATIO = st.floats(0.2, 1.8).flatmap(
    lambda value: st.floats(0.0, 0.3).map(lambda half: Ratio(value, value - half, value + half, 200))
)
_SOME = st.dictionaries(st.sampled_from(["gender", "religion", "reddit"]), _RATIO)
_DUALS = st.builds(
    Duals, *[st.floats(0, 2)] * 3, *[st.dictionaries(st.sampled_from(["gender", "reddit"]), st.floats(0, 2))] * 2,
    st.sampled_from([1.0, 0.5, 0.25]),
)  # fmt: skip
_SHIFTS = st.dictionaries(
    st.sampled_from(["source", "identity_group"]),
    st.dictionaries(st.sampled_from(["gender", "reddit"]), st.floats(-2, 2)),
)


@given(_weights(), _DUALS, _SHIFTS, _METRICS, _METRICS, _SOME, _SOME, _SHIFTS)
def test_every_step_is_bounded_and_told(
    weights: RewardWeights, duals: Duals, shifts: dict[str, dict[str, float]], now: dict[str, float],
    before: dict[str, float], parity: dict[str, Ratio], registers: dict[str, Ratio],
    audit: dict[str, dict[str, float]],
) -> None:  # fmt: skip
    evidence = Evidence(now, before, TARGETS, parity, registers, Tradeoff(-0.5, 0.6, 0.4))
    after = refine(weights, duals, shifts, evidence, REWARD, SETTINGS, audit)
    old, new = vector(weights), vector(after.weights)
    assert new.sum() == pytest.approx(1.0)
    assert new.min() >= min(REWARD.min_weight, old.min()) - 1e-9
    assert np.abs(np.log(new / old)).max() <= REWARD.max_log_step * duals.step + 1e-9
    assert after.weights.eta == weights.eta
    for name, multiplier in after.duals.named().items():
        assert 0.0 <= multiplier <= SETTINGS.max_dual
        assert abs(multiplier - duals.named().get(name, 0.0)) <= REWARD.max_log_step * duals.step + 1e-9
    moved = {move.name for move in after.moves}
    for column in {*shifts, *after.shifts}:
        for value in {*shifts.get(column, {}), *after.shifts.get(column, {})}:
            was, now_ = (each.get(column, {}).get(value, 0.0) for each in (shifts, after.shifts))
            assert abs(now_ - was) <= SETTINGS.max_shift_step + 1e-4
            assert abs(now_) <= max(SETTINGS.max_shift, abs(was))
            assert abs(now_ - was) < 1e-4 or f"correction {column} {value}" in moved
    for name, a, b in zip(("alpha", "beta", "gamma"), old, new, strict=True):
        assert abs(a - b) < 1e-4 or name in moved
    assert all(move.reason for move in after.moves)


@pytest.mark.parametrize(("axis", "name"), [("safety", "alpha"), ("alignment", "beta"), ("capability", "gamma")])
def test_a_shortfall_raises_the_weight_that_answers_it(axis: str, name: str) -> None:
    assert run(FINE, FINE).moves == ()
    short = FINE | {axis: 0.3}
    after = run(short)
    assert getattr(after.weights, name) > getattr(RewardWeights(), name)
    (reason,) = (move.reason for move in after.moves if move.name == name)
    assert f"{axis} 0.300 is below its target" in reason
    fell = refine(RewardWeights(), Duals(), {}, Evidence(short, FINE), REWARD, SETTINGS)
    assert any(f"{axis} fell from" in move.reason for move in fell.moves)


def test_a_lasting_shortfall_accumulates_and_is_forgotten_once_it_is_met() -> None:
    weights, duals, path = RewardWeights(), Duals(), []
    for safety in [0.6] * 6 + [0.97] * 40:
        after = refine(weights, duals, {}, Evidence({**FINE, "safety": safety}, {}, TARGETS), REWARD, SETTINGS)
        weights, duals = after.weights, after.duals
        path.append(weights.alpha)
    assert all(b > a for a, b in itertools.pairwise(path[:6]))
    assert max(path) > 0.65
    assert duals.safety == 0.0
    assert weights.alpha == pytest.approx(REWARD.alpha), "when all is met the loop goes back to the profile's weights"


def test_the_mapping_from_multipliers_to_weights_is_the_stated_one() -> None:
    duals = Duals(safety=0.1, capability=0.05)
    still = Evidence({}, {}, TARGETS)  # nothing measured: multipliers stay, weights go where they point
    after = refine(RewardWeights(), duals, {}, still, REWARD, SETTINGS)
    raw = np.array([0.5 * math.exp(0.1), 0.25, 0.25 * math.exp(0.05)])
    np.testing.assert_allclose(vector(after.weights), raw / raw.sum(), atol=1e-9)
    assert after.duals == duals


def test_noise_moves_nothing_and_a_failed_metric_is_refused() -> None:
    none = Evidence({"safety": 0.9}, {"safety": 0.905})
    assert refine(RewardWeights(), Duals(), {}, none, REWARD, SETTINGS).moves == ()
    assert run({"capability": 0.48}, {"capability": 0.5}).moves == ()
    with pytest.raises(DataError, match="judge"):
        run({"safety": float("nan")})


def test_rejections_back_off_and_acceptance_comes_back() -> None:
    duals = Duals(safety=0.3)
    for _ in range(2):
        duals = duals.rejected(SETTINGS)
    assert (duals.step, duals.safety) == (0.25, 0.3)
    full, backed = run(FINE | {"safety": 0.2}), run(FINE | {"safety": 0.2}, duals=Duals(step=0.25))
    assert backed.duals.safety == pytest.approx(full.duals.safety / 4)
    for _ in range(9):
        duals = duals.rejected(SETTINGS)
    assert duals.step == SETTINGS.min_step
    for _ in range(9):
        duals = duals.accepted(SETTINGS)
    assert duals.step == 1.0
    assert Duals.from_json(dataclasses.replace(duals, groups={"gender": 0.2}).to_json()).groups == {"gender": 0.2}


def test_a_multiplier_is_projected_and_unmeasured_ones_stay() -> None:
    assert ascend(0.1, -5.0, 1.0, REWARD, SETTINGS) == 0.0
    assert ascend(0.7, None, 1.0, REWARD, SETTINGS) == 0.7
    assert ascend(0.0, 9.0, 1.0, REWARD, SETTINGS) == REWARD.max_log_step


def test_the_surrogate_halves_what_costs_too_much_capability() -> None:
    now = FINE | {"safety": 0.85}

    def dual(tradeoff: Tradeoff | None) -> tuple[float, str]:
        after = refine(RewardWeights(), Duals(), {}, Evidence(now, {}, TARGETS, tradeoff=tradeoff), REWARD, SETTINGS)
        return after.duals.safety, after.moves[0].reason

    plain, _ = dual(None)
    cheap, said = dual(Tradeoff(-0.1, 0.8, 0.5))
    assert cheap == plain
    assert "costs 0.005 of capability" in said
    dear, said = dual(Tradeoff(-2.0, 0.8, 0.5))
    assert dear == pytest.approx(plain / 2)
    assert "more than the 0.025 allowed" in said
    assert dual(Tradeoff(-2.0, 0.8, 0.0))[0] == plain, "a surrogate that predicts nothing has no voice"


def test_a_neglected_group_and_register_are_believed_to_be_cleaner() -> None:
    low, fine = Ratio(0.5, 0.4, 0.6, 300), Ratio(0.9, 0.7, 1.1, 300)
    lost = Ratio(1.2, 1.15, 1.25, 40)
    evidence = Evidence(FINE, {}, TARGETS, {"gender": low, "religion": fine}, {"reddit": lost})
    duals: Duals = Duals()
    shifts: Mapping[str, Mapping[str, float]] = {}
    for _ in range(20):
        after = refine(RewardWeights(), duals, shifts, evidence, REWARD, SETTINGS)
        duals, shifts = after.duals, after.shifts
    assert set(duals.groups) == {"gender"}, "an interval that holds the floor decides nothing"
    assert shifts["identity_group"]["gender"] == -SETTINGS.max_constraint_shift
    assert shifts["source"]["reddit"] < 0
    (move,) = (move for move in run_moves(evidence) if move.name == "correction identity_group gender")
    assert "drawn 0.50 times as often" in move.reason


def test_corrections_move_together() -> None:
    audit = {"source": {"reddit": 1.2}, "identity_group": {"gender": -0.6}}
    after = refine(RewardWeights(), Duals(), {}, Evidence({}), REWARD, SETTINGS, audit)
    assert after.shifts["source"]["reddit"] == SETTINGS.max_shift_step
    both = after.shifts["source"]["reddit"] + after.shifts["identity_group"]["gender"]
    assert both == pytest.approx(SETTINGS.max_shift_step / 2), "a document of both goes half as far, the same way"


def run_moves(evidence: Evidence) -> tuple[Move, ...]:
    return refine(RewardWeights(), Duals(), {}, evidence, REWARD, SETTINGS).moves


def test_registers_are_compared_text_by_text() -> None:
    rng = np.random.default_rng(1)
    size = rng.integers(50, 300, 60)
    base = pl.DataFrame(
        {
            "doc_id": [str(i) for i in range(60)],
            "source": ["wiki"] * 40 + ["reddit"] * 20,
            "kind": ["benign"] * 30 + ["toxic"] * 10 + ["benign"] * 20,
            "nll": size * rng.normal(2.0, 0.3, 60),
            "n_bytes": size,
        }
    )
    factor = pl.when(pl.col("source") == "reddit").then(1.1).otherwise(1.0)
    worse = base.with_columns(nll=factor * pl.col("nll"))
    found = source_ratios(base, worse)
    assert found["reddit"].value == pytest.approx(1.1)
    assert found["wiki"].value == pytest.approx(1.0)
    assert found["wiki"].n == 30
    with pytest.raises(DataError, match="held-out"):
        source_ratios(base, worse.head(45))
