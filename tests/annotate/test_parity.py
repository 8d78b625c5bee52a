from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import relative_risk

from curation_pipeline.annotate.annotator_settings import ParitySettings
from curation_pipeline.annotate.parity import (
    PARITY_SCHEMA,
    benign_texts,
    group_membership,
    katz_interval,
    removal_parity,
    removal_parity_by,
)
from curation_pipeline.datasets.registry import LABELS_SCHEMA
from curation_pipeline.errors import DataError


def _frames(counts: dict[tuple[bool, bool], int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(in the group, removed) -> number of texts."""
    rows = [cell for cell, count in counts.items() for _ in range(count)]
    ids = [str(i) for i in range(len(rows))]
    benign = pl.DataFrame({"text_id": ids, "group": [a for a, _ in rows]}, schema_overrides={"group": pl.Boolean})
    removed = pl.DataFrame({"text_id": ids, "rule": [b for _, b in rows]}, schema_overrides={"rule": pl.Boolean})
    return benign, removed.sample(fraction=1.0, shuffle=True, seed=1)


def test_by_hand() -> None:
    # 100 texts of the group, 30 removed; 400 others, 40 removed. Average 70/500 = .14, ratio .30/.14.
    found = removal_parity(*_frames({(True, True): 30, (True, False): 70, (False, True): 40, (False, False): 360}))
    assert dict(found.schema) == PARITY_SCHEMA
    row = found.row(0, named=True)
    assert (row["n"], row["removed"], row["flagged"]) == (100, 30, True)
    assert row["rate"] == pytest.approx(0.3)
    assert row["average_rate"] == pytest.approx(0.14)
    assert row["ratio"] == pytest.approx(0.3 / 0.14)
    # ln 3 = 1.098612; variance 1/30 - 1/100 + 1/40 - 1/400 = .0458333, error .2140872; 1.959964 errors = .4196033.
    low, high = math.exp(1.098612 - 0.4196033), math.exp(1.098612 + 0.4196033)
    assert row["ci_low"] == pytest.approx(low / (0.2 * low + 0.8), rel=1e-5)
    assert row["ci_high"] == pytest.approx(high / (0.2 * high + 0.8), rel=1e-5)


def test_interval_is_that_of_scipy() -> None:
    for cells in ((30, 100, 40, 400), (3, 17, 250, 900), (99, 100, 1, 50)):
        low, high = katz_interval(*cells, z=1.959963984540054)
        other = relative_risk(*cells).confidence_interval(0.95)
        assert (low, high) == pytest.approx((other.low, other.high))


def test_a_higher_rate_alone_is_no_finding() -> None:
    # Ratio 2, but 2 of 8 texts; then a ratio of 1.198, sure but tolerated; then enough of both.
    few = removal_parity(*_frames({(True, True): 2, (True, False): 6, (False, True): 23, (False, False): 169}))
    assert few["ratio"].item() == pytest.approx(2.0)
    assert not few["flagged"].item()
    mild = _frames({(True, True): 3000, (True, False): 7000, (False, True): 22_050, (False, False): 67_950})
    assert removal_parity(*mild)["ci_low"].item() > 1.0
    assert not removal_parity(*mild)["flagged"].item()
    assert removal_parity(*mild, ParitySettings(max_ratio=1.15))["flagged"].item()
    cells = {(True, True): 30, (True, False): 70, (False, True): 40, (False, False): 360}
    assert not removal_parity(*_frames(cells), ParitySettings(min_texts=101))["flagged"].item()


def test_simultaneous_intervals_are_wider() -> None:
    benign, removed = _frames({(True, True): 30, (True, False): 70, (False, True): 60, (False, False): 340})
    more = removed.with_columns(pl.col("rule").alias(f"rule_{i}") for i in range(19))
    one = removal_parity(benign, more)
    all_at_once = removal_parity(benign, more, ParitySettings(simultaneous=True))
    assert (all_at_once["ci_low"] < one["ci_low"]).all()
    assert (all_at_once["ci_high"] > one["ci_high"]).all()


def test_coverage() -> None:
    """A rule that is blind to the group: the interval holds 1 about as often as it says, and few are flagged."""
    generator = np.random.default_rng(5)
    n = 600
    ids = [str(i) for i in range(n)]
    benign = pl.DataFrame({"text_id": ids, "group": generator.random(n) < 0.3})
    rules = {f"rule_{i}": generator.random(n) < 0.15 for i in range(400)}
    found = removal_parity(benign, pl.DataFrame({"text_id": ids, **rules}))
    holds = ((found["ci_low"] <= 1.0) & (found["ci_high"] >= 1.0)).mean()
    assert holds == pytest.approx(0.95, abs=0.03)
    assert found["flagged"].mean() < 0.04


@given(st.tuples(*[st.integers(0, 12)] * 4))
def test_any_counts(cells: tuple[int, int, int, int]) -> None:
    keys = [(True, True), (True, False), (False, True), (False, False)]
    benign, removed = _frames(dict(zip(keys, cells, strict=True)))
    row = removal_parity(benign, removed).row(0, named=True)
    assert row["n"] == cells[0] + cells[1]
    if row["ci_low"] is not None:
        assert 0.0 < row["ci_low"] < row["ci_high"]
        assert math.isfinite(row["ci_high"])
        assert (row["ratio"] or 0) <= row["ci_high"] + 1e-9 or 0 in cells
    assert not row["flagged"]  # 24 texts at most


def test_errors_name_what_is_wrong() -> None:
    benign, removed = _frames({(True, True): 3, (False, False): 3})
    with pytest.raises(DataError, match="same texts"):
        removal_parity(benign, removed.head(5))
    with pytest.raises(DataError, match="Boolean rules"):
        removal_parity(benign, removed.with_columns(pl.col("rule").cast(pl.Int8)))
    with pytest.raises(DataError, match="one value a text"):
        removal_parity_by(benign, removed, pl.Series("dataset", ["a"]))


def test_by_dataset() -> None:
    # In each dataset the rule treats the group like the rest; pooled, it seems not to: Simpson's paradox.
    ids = [str(i) for i in range(400)]
    first = np.arange(400) < 200
    group = np.where(first, np.arange(400) % 10 < 8, np.arange(400) % 10 < 2)
    gone = np.where(first, np.arange(400) % 200 // 10 % 2 == 0, np.arange(400) % 200 // 10 % 10 == 0)
    benign = pl.DataFrame({"text_id": ids, "group": group})
    removed = pl.DataFrame({"text_id": ids, "rule": gone})
    by = pl.Series("dataset", np.where(first, "rough", "mild").tolist())
    assert removal_parity(benign, removed)["flagged"].item()
    found = removal_parity_by(benign, removed, by)
    assert found["dataset"].to_list() == ["mild", "rough"]
    assert found["ratio"].to_list() == pytest.approx([1.0, 1.0])
    assert not found["flagged"].any()


def test_a_text_may_belong_to_several_groups() -> None:
    texts = pl.DataFrame(
        {
            "text_id": ["a", "b", "c"],
            "text": ["A Muslim woman spoke.", "They finna leave, he said of the colour.", "The mill stood still."],
        }
    )
    found = group_membership(texts)
    of = {row["text_id"]: {name for name, value in row.items() if value is True} for row in found.to_dicts()}
    assert of["a"] == {"mentions_religion", "mentions_gender", "mentions_muslim", "mentions_women"}
    assert of["b"] == {"dialect_aae", "dialect_commonwealth"}
    assert of["c"] == set()


def test_benign_texts() -> None:
    rows = [
        ("a", "impermium", "test", "x", 0.0, None, None, "report"),
        ("b", "impermium", "test", "y", 1.0, None, None, "report"),
        ("c", "impermium", "train_fit", "z", 0.0, None, None, "fit"),
        ("d", "redditbias", "report", "w", 0.0, None, "race", "report"),
        ("e", "pyrit_refusal", "report", "v", 0.0, None, None, "report"),
        ("f", "pyrit_harm", "report", "u", 0.33, None, None, "report"),
    ]
    found = benign_texts(pl.DataFrame(rows, schema=LABELS_SCHEMA, orient="row"))
    assert found["text_id"].to_list() == ["a", "d"]
    assert "bias is not toxicity" in found["meaning"][1]
