from __future__ import annotations

import polars as pl
import pytest

from curation_pipeline.datasets.registry import REGISTRY, ROLES, check, hold_out, roles_by_hash
from curation_pipeline.errors import DataError


def labels(*rows: tuple[str, str, str, str]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["dataset", "split", "text", "role"], orient="row")
    return frame.with_row_index("text_id").with_columns(pl.col("text_id").cast(pl.Utf8))


def test_registry_has_one_known_role_for_each_split() -> None:
    splits = [(entry.dataset, entry.split) for entry in REGISTRY]
    assert len(splits) == len(set(splits))
    assert {entry.role for entry in REGISTRY} <= set(ROLES)


def test_a_split_with_two_roles_is_refused() -> None:
    with pytest.raises(DataError, match="own/a has the roles"):
        check(labels(("own", "a", "one", "fit"), ("own", "a", "two", "report")))
    with pytest.raises(DataError, match="impermium/test"):
        check(labels(("impermium", "test", "one", "fit")))
    with pytest.raises(DataError, match="unknown roles"):
        check(labels(("own", "a", "one", "training")))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("What an idiot you are, Bob!", "what an idiot you are bob"),
        ("Nobody in this town would ever listen to such an utter and complete fool as you are, ever." * 2,
         "Nobody in this town would ever listen to such an utter and complete fool as you are. Never, they said."),
        ("!?!", "!?!"),
    ],
)  # fmt: skip
def test_planted_near_duplicates_are_found_and_held_out(left: str, right: str) -> None:
    frame = labels(("own", "a", left, "fit"), ("own", "b", right, "report"), ("own", "a", "something else", "fit"))
    with pytest.raises(DataError, match="1 near-duplicate texts stand in two roles"):
        check(frame)
    kept = hold_out(frame)
    check(kept)
    assert kept["text_id"].to_list() == ["1", "2"]


def test_duplicates_inside_one_role_are_no_error() -> None:
    check(labels(("own", "a", "same", "fit"), ("other", "b", "same", "fit")))


def test_roles_by_hash_keep_their_shares_and_their_text() -> None:
    texts = pl.Series([f"sentence number {i}" for i in range(20_000)])
    roles = roles_by_hash(texts, {"fit": 0.6, "calibrate": 0.2, "report": 0.2})
    shares = roles.value_counts(normalize=True)
    assert dict(shares.iter_rows()) == pytest.approx({"fit": 0.6, "calibrate": 0.2, "report": 0.2}, abs=0.015)
    assert roles_by_hash(texts.reverse(), {"fit": 0.6, "calibrate": 0.2, "report": 0.2}).reverse().equals(roles)
