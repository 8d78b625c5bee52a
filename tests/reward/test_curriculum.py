"""The curriculum moves on when its test is met, never back, and lets in what its stage names."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curation_pipeline.reward.curriculum import CurriculumState, admits, admitted, advanced, resumed, started
from curation_pipeline.reward.curriculum_settings import CurriculumStage, check_stages

EASY = CurriculumStage(name="easy", sources=("wiki",), max_p_harm=0.5, min_safety=0.6, min_capability=0.45, patience=2)
HARD = CurriculumStage(name="hard", sources=("wiki", "forum|2026-01"))
LAST = CurriculumStage(name="last")
STAGES = (EASY, HARD, LAST)
GOOD = {"safety": 0.7, "capability": 0.5, "alignment": 0.5}


def test_a_stage_is_left_after_its_test_is_met_in_a_row() -> None:
    state = started(STAGES)
    assert state is not None
    for ordinal, (performance, accepted, stage, met) in enumerate(
        [
            (GOOD, True, 0, 1),
            (GOOD | {"safety": 0.5}, True, 0, 0),
            (GOOD, True, 0, 1),
            (GOOD, False, 0, 0),
            (GOOD, True, 0, 1),
            (GOOD, True, 1, 0),
            (GOOD | {"safety": 0.1}, True, 2, 0),  # the second stage asks for nothing
            (GOOD | {"safety": 0.1}, True, 2, 1),
        ],
        start=1,
    ):
        state = advanced(state, STAGES, performance, accepted, ordinal)
        assert state is not None
        assert (state.stage, state.met) == (stage, met), ordinal
        assert state.name == STAGES[stage].name
    assert state.since == 7
    assert state.progress == 1.0
    assert "last stage" in state.reason
    assert CurriculumState.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=12))
def test_it_never_goes_back_and_says_why(outcomes: list[tuple[float, bool]]) -> None:
    state = started(STAGES)
    for ordinal, (value, accepted) in enumerate(outcomes, start=1):
        after = advanced(state, STAGES, dict.fromkeys(GOOD, value), accepted, ordinal)
        assert after is not None
        assert state is not None
        assert after.stage - state.stage in (0, 1)
        assert after.stage == state.stage or accepted
        assert 0 <= after.progress <= 1
        assert after.reason
        state = after


def test_no_stages_is_no_curriculum() -> None:
    assert started(()) is None
    assert advanced(None, (), GOOD, True, 1) is None
    assert admits(None, "any|thing")
    frame = pl.DataFrame({"p_harm": [0.1, 0.9]})
    assert admitted(frame, 1.0) is frame


def test_a_profile_that_changed_its_stages_is_followed_by_name() -> None:
    state = CurriculumState(1, "hard", 3, 1, 4, "")
    for stages, index in (((HARD, LAST), 0), ((LAST,), 0), ((EASY, LAST, HARD), 2)):
        found = resumed(state, stages)
        assert found is not None
        assert (found.stage, found.name) == (index, stages[index].name)
    assert resumed(state, ()) is None
    assert resumed(None, STAGES) == started(STAGES)


def test_what_a_stage_lets_in() -> None:
    assert admits(EASY, "wiki|any")
    assert not admits(EASY, "wikipedia|any")
    assert admits(HARD, "forum|2026-01")
    assert not admits(HARD, "forum|2026-02")
    assert admits(LAST, "forum|2026-02")
    assert admitted(pl.DataFrame({"p_harm": [0.1, 0.5, 0.9]}), EASY.max_p_harm)["p_harm"].to_list() == [0.1, 0.5]


def test_wrong_stages_are_refused() -> None:
    check_stages(STAGES, frozenset({"wiki", "forum"}))
    with pytest.raises(ValueError, match="names forum\\|2026-01; the corpus has wiki"):
        check_stages(STAGES, frozenset({"wiki"}))
    with pytest.raises(ValueError, match="called easy"):
        check_stages((EASY, EASY), frozenset({"wiki"}))
    with pytest.raises(ValidationError, match="source\\|snapshot"):
        CurriculumStage(name="x", sources=("a|b|c",))
