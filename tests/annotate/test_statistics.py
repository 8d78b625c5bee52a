from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.identity import GROUPS
from curation_pipeline.annotate.lexicon import STOP_WORDS
from curation_pipeline.annotate.statistics import SCHEMA, TTR_WORDS, text_statistics
from tests.annotate.hostile import made_of

PROSE = (
    "The river rises in the hills to the north of the town and flows past two old mills before it reaches the sea. "
    "Its valley has been farmed for centuries, and the villages along it hold a fair every spring."
)


def _frame(*texts: str) -> pl.DataFrame:
    columns = {"doc_id": [f"{i:032x}" for i in range(len(texts))], "text": list(texts)}
    return text_statistics(pl.DataFrame(columns, schema={"doc_id": pl.Utf8, "text": pl.Utf8}))


def test_counts_by_hand() -> None:
    row = _frame("The CAT, the dog: it is A dog!").row(0, named=True)
    assert row["n_chars"] == 30
    assert row["n_words"] == 8
    assert row["mean_word_length"] == pytest.approx(23 / 8, abs=1e-4)
    assert row["punctuation_share"] == pytest.approx(3 / 30, abs=1e-4)
    assert row["uppercase_share"] == pytest.approx(5 / 20, abs=1e-4)
    assert row["stop_word_share"] == pytest.approx(5 / 8, abs=1e-4)  # the, the, it, is, a
    assert row["type_token_ratio"] == pytest.approx(7 / 8, abs=1e-4)  # "dog:" and "dog!" are two types


@pytest.mark.parametrize(
    "worse",
    [
        PROSE.upper(),
        "buy now cheap " * 40,
        "!!! ??? ... ;;; " * 12,
        " ".join(["incomprehensibilities", "counterrevolutionary", "electroencephalograph"] * 9),
        "",
        "word",
    ],
)
def test_quality_prefers_running_prose(worse: str) -> None:
    good, bad = _frame(PROSE, worse)["quality"].to_list()
    assert good > 0.75
    assert bad < 0.5 * good


@given(st.lists(st.text(max_size=60), max_size=6))
def test_every_value_is_finite_and_in_range(texts: list[str]) -> None:
    found = _frame(*texts)
    assert found.height == len(texts)
    assert dict(found.schema) == SCHEMA
    assert found["doc_id"].to_list() == [f"{i:032x}" for i in range(len(texts))]
    for name in ("type_token_ratio", "punctuation_share", "uppercase_share", "stop_word_share", "quality"):
        assert found[name].is_between(0.0, 1.0).all(), name
    assert found["identity_group"].is_in(list(GROUPS)).all()


def test_identity_groups() -> None:
    texts = {
        "The women of the village met on Sunday.": "gender",
        "Her Muslim neighbours invited us.": "religion",
        "A black car stopped.": "none",
        "Black people in the town founded a school.": "race",
        "A gay Christian man wrote it.": "orientation",
        "Permanent members only; the gayest tune, a Jewell of a play.": "none",
        "The disabled woman won.": "disability",
    }
    assert _frame(*texts)["identity_group"].to_list() == list(texts.values())


@given(st.lists(made_of(["don't", "the", "mill", "ΑΣ"]), max_size=5))
def test_counts_are_those_of_patterns(texts: list[str]) -> None:
    found = _frame(*texts)
    column = pl.Series("text", texts, dtype=pl.Utf8)
    words = column.str.extract_all(r"\S+")
    assert found["n_chars"].to_list() == column.str.len_chars().to_list()
    assert found["n_words"].to_list() == words.list.len().to_list()
    small = column.str.to_lowercase().str.extract_all(r"\S+").to_list()
    bare = [pl.Series(row, dtype=pl.Utf8).str.replace_all(r"[^\p{L}\p{N}]", "").to_list() for row in small]
    for name, hits, of in (
        ("punctuation_share", column.str.count_matches(r"\p{P}").to_list(), column.str.len_chars().to_list()),
        (
            "uppercase_share",
            column.str.count_matches(r"\p{Lu}").to_list(),
            column.str.count_matches(r"\p{L}").to_list(),
        ),
        ("type_token_ratio", [len(set(row[:TTR_WORDS])) for row in small], [len(row[:TTR_WORDS]) for row in small]),
        ("stop_word_share", [sum(word in STOP_WORDS for word in row) for row in bare], list(map(len, small))),
    ):
        wanted = [part / whole if whole else 0.0 for part, whole in zip(hits, of, strict=True)]
        assert found[name].to_list() == pytest.approx(wanted, abs=6e-5), name
