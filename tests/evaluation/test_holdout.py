"""The final evaluation sees no item that an iteration's evaluation used."""

from __future__ import annotations

from dataclasses import fields

import polars as pl

from curation_pipeline.datasets.benchmarks import BenchmarkData
from curation_pipeline.evaluation.holdout import unseen_items
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.evaluation.suite import sample_rows, take

SETTINGS = EvaluationSettings(n_bias_pairs=30, n_preferences=10, n_choices=10, n_bbq=10, n_stereoset=10)
SEED = 3


def frame(key: str, n: int, roles: tuple[str, ...] = ("report",), **columns: str) -> pl.DataFrame:
    ids = [f"{key}{i}" for i in range(n)]
    extra = {name: [f"{value}{i % 2}" for i in range(n)] for name, value in columns.items()}
    return pl.DataFrame({key: ids, "role": [roles[i % len(roles)] for i in range(n)], **extra})


def benchmarks() -> BenchmarkData:
    pairs = frame("pair_id", 80).with_columns(
        sent_more=pl.concat_str(pl.lit("more "), "pair_id"), sent_less=pl.concat_str(pl.lit("less "), "pair_id")
    )
    made = {
        "prompts": frame("prompt_id", 40, ("report", "credit", "final"), kind="k"),
        "bias_pairs": pairs,
        "preferences": frame("pair_id", 60, ("report", "report", "credit"), source="s"),
        "choices": frame("item_id", 50, benchmark="b").drop("role"),
        "questions": frame("item_id", 50, condition="c"),
        "triples": frame("item_id", 15, bias_type="t"),
        "requests": frame("item_id", 30, ("report", "final", "credit")).with_columns(
            kind=pl.Series(["harmless", "harmful", "harmful", "harmful", "harmful"] * 6)
        ),
    }
    # A benchmark that is not known here may not be shown to be unseen.
    others = {field.name: frame("item_id", 5) for field in fields(BenchmarkData) if field.name not in made}
    return BenchmarkData(**(made | others))


def test_what_was_used_is_left_out() -> None:
    data = benchmarks()
    found = unseen_items(data, SETTINGS, SEED)
    assert found.prompts.height == 13
    used = take(data.choices, "item_id", 10, SEED, "benchmark")
    assert used.height == 20
    assert set(found.choices["item_id"]).isdisjoint(used["item_id"])
    assert found.choices.height == 30
    reported = data.preferences.filter(pl.col("role") == "report")
    left = set(reported["pair_id"]) - set(take(reported, "pair_id", 10, SEED, "source")["pair_id"])
    assert set(found.preferences["pair_id"]) == left
    assert set(found.bias_pairs["pair_id"]) == set(data.bias_pairs["pair_id"]) - set(
        sample_rows(data.bias_pairs, 30, SEED)["pair_id"]
    )
    assert found.triples.is_empty()  # all of them were used
    assert set(found.questions["role"]) == {"final"}


def test_requests_keep_the_harmless_ones_that_they_are_measured_against() -> None:
    data = benchmarks()
    found = unseen_items(data, SETTINGS, SEED).requests
    assert found.filter(pl.col("kind") == "harmless").height == 6
    harmful = data.requests.filter((pl.col("role") == "final") & (pl.col("kind") == "harmful"))
    assert set(found.filter(pl.col("kind") == "harmful")["item_id"]) == set(harmful["item_id"])
