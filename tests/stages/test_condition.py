"""Conditions that try more than a condition may, on a real pool in a folder whose name is a pattern."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Recipe
from curation_pipeline.stages.queries import PoolQuery

N = 100
FOLDER = "la[k]e's *"


@pytest.fixture
def query(tmp_path: Path) -> PoolQuery:
    frame = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(N)],
            "source": ["a", "b"] * (N // 2),
            'odd "name': [1, 2, 3, 4] * (N // 4),
            "p_harm": [i / N for i in range(N)],
            "tags": [["x", "y"]] * N,
        }
    )
    lake = Lake.open(tmp_path / FOLDER)

    def write(draft: Draft) -> None:
        draft.keyed(frame, "data")

    return PoolQuery(lake, lake.build(Recipe("pool", {}, (), {}, 0, "1"), write))


@pytest.mark.parametrize(
    ("condition", "n"),
    [
        ("p_harm < .1", 10),
        ("p_harm < .1 -- the clean ones", 10),
        ("p_harm < .1 or source = 'a' and not (p_harm >= .5)", 30),
        ("source ilike 'A%' escape '!' and regexp_matches(source, '^a') and source ~ 'a'", 50),
        ("case when p_harm < .5 then source in ('a', 'b') else false end", 50),
        ("list_contains(tags, 'x') and tags[2] = 'y' and len(tags) = 2", N),
        ('"odd ""name" % 2 = 0 and coalesce(try_cast(source as int), 0) = 0', 50),
        ("(p_harm, source) = (.01, 'b')", 1),
        ("true) or (false", N),
        ("null", 0),
    ],
)
def test_a_condition_computes_what_it_says(query: PoolQuery, condition: str, n: int) -> None:
    assert query.where(condition).height == n
    sample = query.sample(2, 'odd "name', condition)
    assert sample.height <= 8


@pytest.mark.parametrize(
    "condition",
    [
        "true; copy pool to '{out}'", "p_harm in (select a from '{secret}')", "p_harm = (select a from '{secret}')",
        "exists (from read_csv('{secret}'))", "array(select 1) is null", "(from pool) is null", "(values (1)) = 1",
        "(with x as (select 1) select * from x) = 1", "p_harm < any([.1])", "true) from '{secret}' where (true",
        "true) union select * from '{secret}' where (true", "true) from pool union select (true", "true) order by (1",
        "true) limit (1", "true, true", "true as x", "(true", "true)", "true /*", "", "getenv('HOME') is null",
        "current_setting('allowed_paths') is null", "main.CURRENT_SETTING('x') is null", "sleep_ms(9999) is null",
        '"system".main.sleep_ms(9999) is null', "(9999).sleep_ms() is null", "[sleep_ms(9999) for t in tags] is null",
        "list_transform(tags, t -> repeat(t, 999999999)) is null", "length(repeat('x', 9999999999)) > 0",
        "list_sum(range(9999999999)) > 0", "read_text('{secret}') is null", "write_log('x') is null", "p_harm < ?",
        "count(*) > 0", "row_number() over () < 3", "true qualify true", "attach '{out}'", "pragma version",
        "p_harm < .1 " + " and true" * 9_000,
    ],
)  # fmt: skip
def test_what_is_no_plain_condition_is_refused_before_it_runs(query: PoolQuery, condition: str, tmp_path: Path) -> None:
    secret, out = tmp_path / "secret.csv", tmp_path / "out.csv"
    secret.write_text("a\n0.5\n")
    for ask in (query.where, lambda text: query.sample(1, condition=text, by="source")):
        with pytest.raises(ConfigError, match="the query fails") as refused:
            ask(condition.replace("{secret}", str(secret)).replace("{out}", str(out)))
    assert "0.5" not in str(refused.value)
    assert not out.exists()


def test_the_connection_reaches_no_other_file_even_if_the_check_lets_something_through(
    query: PoolQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation_pipeline.stages.queries.check_condition", lambda *_: None)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n0.5\n")
    for condition in (f"p_harm in (select a from read_csv('{secret}'))", f"p_harm in (select a from '{secret}')"):
        with pytest.raises(ConfigError, match="the query fails"):
            query.where(condition)
    for statement in (
        f"copy pool to '{tmp_path}/out'",
        f"attach '{tmp_path}/x.db'",
        "set enable_external_access = true",
    ):
        with pytest.raises(ConfigError, match="the query fails"):
            query.where(f"true); {statement}; select (true")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([FOLDER, "secret.csv"])


def test_a_query_without_end_is_interrupted(query: PoolQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation_pipeline.stages.queries.check_condition", lambda *_: None)
    monkeypatch.setattr("curation_pipeline.stages.queries.MAX_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=re.escape("more than 0 s")):
        query.where("sleep_ms(600000) is null")
