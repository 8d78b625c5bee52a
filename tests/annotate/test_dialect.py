from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.annotator_settings import DialectSettings
from curation_pipeline.annotate.dialect import VARIETIES, dialect


@pytest.mark.parametrize(
    "text",
    [
        "She be working late every night.",
        "I\u2019m finna head out, call me.",
        "He done told you twice already.",
        "We tryna eat before the game.",
        "It ain't nothing but a thing.",
        "They going home and she gon be mad.",
        "y'all ain't never ready, they doin too much",
        "They be\nsingin' on the porch.",
        "他说I\u2019m finna head out吗",
    ],
)
def test_african_american_english(text: str) -> None:
    assert dialect(pl.Series([text]))["dialect_aae"].item()


@pytest.mark.parametrize(
    "text",
    [
        "Would she be working late every night?",
        "It is important that he be working by then.",
        "Are they going home? How are we doing?",
        "The work he has done told us much.",
        "Have they been told? He has been gone for years.",
        "An ion knows no rest in a field.",
        "The gonfalon hung over the gate; Dat Nguyen spoke.",
        "The senator is going to answer the question that you asked.",
        "",
    ],
)
def test_other_english(text: str) -> None:
    assert not dialect(pl.Series([text]))["dialect_aae"].item()


def test_controls_and_length() -> None:
    found = dialect(
        pl.Series(["The colour of the theatre", "lol idk what u mean", "At noon the U.S. delegation left."])
    )
    assert found["dialect_commonwealth"].to_list() == [True, False, False]
    assert found["dialect_informal"].to_list() == [False, True, False]
    # One line of dialogue does not make a novel dialect.
    novel = pl.Series(["I finna go. " + "The road ran on between the hedges. " * 200])
    assert dialect(novel)["aae_score"].item() == 1.0
    assert not dialect(novel)["dialect_aae"].item()
    assert dialect(novel, DialectSettings(min_rate=0.0))["dialect_aae"].item()


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text(texts: list[str]) -> None:
    found = dialect(pl.Series(texts, dtype=pl.Utf8))
    assert found.height == len(texts)
    for name in VARIETIES:
        assert (found[f"{name}_score"] >= 0).all()
        assert found.schema[f"dialect_{name}"] == pl.Boolean
