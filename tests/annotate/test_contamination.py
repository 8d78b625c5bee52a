from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.contamination import SCHEMA, benchmark_index, contamination
from curation_pipeline.annotate.wordhash import word_hashes, words

ITEM = (
    "Question: which of the two rivers that cross the old town carried the mill, a tannery and the bridge away in 21?"
)
OTHER = "A farmer has seventeen sheep, sells all but nine of them at the market, and buys four goats on the way home."
SHORT = "how many legs do nine spiders have together"
TOO_SHORT = "what is the capital of that country"
BENCHMARKS = pl.DataFrame(
    {"benchmark": ["rivers", "sums", "sums", "capitals"], "text": [ITEM, OTHER, SHORT, TOO_SHORT]}
)


def documents(*texts: str | None) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": [f"d{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.Utf8)})


def test_planted_overlaps_are_found_at_edges_and_across_lines_and_nowhere_else() -> None:
    item = ITEM.split()
    first, last = " ".join(item[:13]), " ".join(item[-13:])
    table = contamination(
        documents(
            f"{first} and then something else entirely",
            f"Something else entirely, and then {last}",
            "\n".join(item).upper().replace(",", " , "),
            " ".join(item[:12]) + " cows " + " ".join(item[13:]),
            f"He asked: {SHORT}?",
            f"He asked: {TOO_SHORT}?",
            " ".join(SHORT.split()[:-1]),
            " ".join(item[:7]) + ".\n\n" + " ".join(item[7:13]),
            "",
            None,
            ITEM + " " + OTHER,
        ),
        BENCHMARKS,
    )
    n_item = len(words(ITEM)) - 12
    assert table["n_overlaps"].to_list() == [1, 1, n_item, 0, 1, 0, 0, 1, 0, 0, n_item + len(words(OTHER)) - 12]
    assert table["benchmark"].to_list() == [
        "rivers", "rivers", "rivers", None, "sums", None, None, "rivers", None, None, "rivers",
    ]  # fmt: skip
    assert table["overlap"][0] == " ".join(words(first))
    assert table["overlap"][1] == " ".join(words(last))
    assert table["overlap"][4] == SHORT
    assert dict(table.schema) == SCHEMA


def test_the_whole_benchmark_text_is_needed_when_it_is_short_but_not_alone() -> None:
    table = contamination(documents(f"so {SHORT} then"), BENCHMARKS.filter(pl.col("text") == SHORT))
    assert table["n_overlaps"].to_list() == [1]


def test_order_and_repetition_of_benchmarks_do_not_matter_and_the_first_name_wins() -> None:
    twice = pl.concat([BENCHMARKS, pl.DataFrame({"benchmark": ["an earlier name"], "text": [ITEM]}), BENCHMARKS])
    one = contamination(documents(ITEM, OTHER), twice)
    assert one.equals(contamination(documents(ITEM, OTHER), twice.reverse()))
    assert one["benchmark"].to_list() == ["an earlier name", "sums"]


def test_empty_frames() -> None:
    assert dict(contamination(documents(), BENCHMARKS).schema) == SCHEMA
    assert contamination(documents(ITEM), BENCHMARKS[:0])["n_overlaps"].to_list() == [0]


def test_a_hash_collision_removes_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every word hashed alike, every run is a candidate; only the real one is reported."""

    def alike(texts: pl.Series, fold_digits: bool = False) -> tuple[np.ndarray, np.ndarray]:
        hashes, offsets = word_hashes(texts, fold_digits)
        return np.ones_like(hashes), offsets

    monkeypatch.setattr("curation_pipeline.annotate.contamination.word_hashes", alike)
    one = BENCHMARKS[:1].with_columns(text=pl.lit(" ".join(ITEM.split()[:13])))
    table = contamination(documents(OTHER, ITEM), one)
    assert table["n_overlaps"].to_list() == [0, 1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("ab c", max_size=60), max_size=6),
    st.lists(st.text("ab c", max_size=30), max_size=4),
    st.integers(2, 6),
)
def test_agrees_with_sets_of_runs(texts: list[str], benchmark: list[str], n: int) -> None:
    minimum = min(3, n)
    runs: set[tuple[str, ...]] = set()
    for text in benchmark:
        own = words(text)
        width = n if len(own) >= n else len(own) if len(own) >= minimum else 0
        if width:
            runs |= {tuple(own[i : i + width]) for i in range(len(own) - width + 1)}
    widths = {len(run) for run in runs}
    expected = []
    for text in texts:
        own = words(text)
        mine = {tuple(own[i : i + width]) for width in widths for i in range(len(own) - width + 1)}
        expected.append(len(mine & runs))
    frame = pl.DataFrame({"benchmark": ["x"] * len(benchmark), "text": pl.Series(benchmark, dtype=pl.Utf8)})
    index = benchmark_index(frame, n, minimum)
    assert contamination(documents(*texts), index)["n_overlaps"].to_list() == expected
