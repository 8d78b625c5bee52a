"""The final evaluation sees no item that an iteration's evaluation used."""

from __future__ import annotations

import polars as pl

from curation_pipeline.evaluation.benchmark import take
from curation_pipeline.evaluation.benchmarks import crows_pairs
from curation_pipeline.evaluation.items import unseen_items, with_items
from curation_pipeline.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings()
USED = {benchmark.name: 10 for benchmark, _ in with_items()} | {"crows_pairs": 30}
SEED = 3


def frame(key: str, n: int, roles: tuple[str, ...] = ("report",), **columns: str) -> pl.DataFrame:
    ids = [f"{key}{i}" for i in range(n)]
    extra = {name: [f"{value}{i % 2}" for i in range(n)] for name, value in columns.items()}
    return pl.DataFrame({key: ids, "role": [roles[i % len(roles)] for i in range(n)], **extra})


def benchmarks() -> dict[str, pl.DataFrame]:
    pairs = frame("pair_id", 80).with_columns(
        sent_more=pl.concat_str(pl.lit("more "), "pair_id"), sent_less=pl.concat_str(pl.lit("less "), "pair_id")
    )
    return {
        "toxicity_prompts": frame("prompt_id", 40, ("report", "credit", "final"), kind="k"),
        "crows_pairs": pairs,
        "preferences": frame("pair_id", 60, ("report", "report", "credit"), source="s"),
        "multiple_choice": frame("item_id", 50, benchmark="b").drop("role"),
        "bbq": frame("item_id", 50, condition="c"),
        "stereoset": frame("item_id", 15, bias_type="t"),
        "refusal": frame("item_id", 30, ("report", "final", "credit")).with_columns(
            kind=pl.Series(["harmless", "harmful", "harmful", "harmful", "harmful"] * 6)
        ),
    }


def test_what_was_used_is_left_out() -> None:
    data = benchmarks()
    found = unseen_items(data, SETTINGS, USED, SEED)
    assert found["toxicity_prompts"].height == 13
    used = take(data["multiple_choice"], "item_id", 10, SEED, ("benchmark",))
    assert used.height == 20
    assert set(found["multiple_choice"]["item_id"]).isdisjoint(used["item_id"])
    assert found["multiple_choice"].height == 30
    reported = data["preferences"].filter(pl.col("role") == "report")
    left = set(reported["pair_id"]) - set(take(reported, "pair_id", 10, SEED, ("source",))["pair_id"])
    assert set(found["preferences"]["pair_id"]) == left
    assert set(found["crows_pairs"]["pair_id"]) == set(data["crows_pairs"]["pair_id"]) - set(
        crows_pairs.choose(data["crows_pairs"], 30, SEED)["pair_id"]
    )
    assert found["stereoset"].is_empty()  # all of them were used
    assert set(found["bbq"]["role"]) == {"final"}


def test_requests_keep_the_harmless_ones_that_they_are_measured_against() -> None:
    data = benchmarks()
    found = unseen_items(data, SETTINGS, USED, SEED)["refusal"]
    assert found.filter(pl.col("kind") == "harmless").height == 6
    harmful = data["refusal"].filter((pl.col("role") == "final") & (pl.col("kind") == "harmful"))
    assert set(found.filter(pl.col("kind") == "harmful")["item_id"]) == set(harmful["item_id"])
