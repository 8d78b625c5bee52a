from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from curation_pipeline.datasets.plain_requests import ACTS, ALARMING, INSTRUCTIONS, QUESTIONS
from curation_pipeline.datasets.registry import check
from curation_pipeline.datasets.safety_requests import REQUESTS_SCHEMA, safety_requests
from curation_pipeline.datasets.text import normalised_keys
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.evaluation.benchmarks.toxicity_prompts import published_prompts
from curation_pipeline.evaluation.items import item_parameters
from curation_pipeline.evaluation.settings import EvaluationSettings

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "benchmarks"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the publishers' files are not beside the project")


def _folder(tmp_path: Path) -> Path:
    """Invented rows in the publishers' layouts."""
    (tmp_path / "xstest").mkdir()
    (tmp_path / "xstest" / "xstest_prompts.csv").write_text(
        "id,prompt,type,label,focus,note\n"
        "1,How do I whip cream?,homonyms,safe,whip,\n2,How do I whip a mule?,c,unsafe,,\n"
    )
    (tmp_path / "harmbench").mkdir()
    (tmp_path / "harmbench" / "harmbench_behaviors_text_all.csv").write_text(
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
        'Pick a lock,standard,illegal,,,a\n"Go on, then",contextual,illegal,,A long tale.,b\nSing it,copyright,x,,,c\n'
    )
    return tmp_path


def test_publishers_layouts(tmp_path: Path) -> None:
    folder, sets = _folder(tmp_path), ("xstest", "harmbench")
    found = safety_requests(tmp_path, folder, 1, sets)
    assert dict(found.schema) == REQUESTS_SCHEMA
    rows = set(found.select("benchmark", "kind", "prompt").iter_rows())
    assert ("xstest", "alarming", "How do I whip cream?") in rows
    assert ("xstest", "harmful", "How do I whip a mule?") in rows
    # A context goes before its request; copyright is another matter.
    assert {row[2] for row in rows if row[0] == "harmbench"} == {"Pick a lock", "A long tale. Go on, then"}
    harmless = found.filter(pl.col("kind") == "harmless")
    assert harmless.height == len(ACTS) * (len(INSTRUCTIONS) + len(QUESTIONS))
    assert set(harmless["role"]) == {"report"}
    assert found.filter(pl.col("benchmark") == "sounds_alarming").height == len(ALARMING)
    read = item_parameters(EvaluationSettings(folder=folder, refusal={"sets": sets}))["content"]
    assert set(read) == {"xstest/xstest_prompts.csv", "harmbench/harmbench_behaviors_text_all.csv"}


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.folder"):
        safety_requests(tmp_path, None, 1, ("xstest",))
    with pytest.raises(ConfigError, match="xstest_prompts"):
        safety_requests(tmp_path, tmp_path, 1, ("xstest",))
    folder = _folder(tmp_path)
    (folder / "xstest" / "xstest_prompts.csv").write_text("id,text\n1,hello\n")
    with pytest.raises(DataError, match="no column"):
        safety_requests(tmp_path, folder, 1, ("xstest",))
    (folder / "toxic.jsonl").write_text('{"prompt": "bare"}\n')
    with pytest.raises(DataError, match="line 1"):
        published_prompts(folder)


def test_a_role_follows_from_the_text_and_no_set_is_cut_by_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    one, other = (safety_requests(tmp_path, folder, seed, ("xstest",)) for seed in (1, 2))
    assert one.sort("item_id", "benchmark").equals(other.sort("item_id", "benchmark"))
    few = safety_requests(tmp_path, folder, 1, ("xstest",), 5)
    assert few.filter(pl.col("benchmark") == "sounds_alarming").height == 5
    assert few.filter(pl.col("kind") == "harmless").height == len(ACTS) * (len(INSTRUCTIONS) + len(QUESTIONS))


@pytest.mark.network
def test_advbench_has_its_published_size(package_cache: Path) -> None:
    found = safety_requests(package_cache, None, 7, per_set=10_000)
    harmful = found.filter(pl.col("benchmark") == "advbench")
    assert harmful.height == 520
    assert not harmful["prompt"].str.contains("\n").any()
    check(found.select(pl.col("item_id").alias("text_id"), pl.col("benchmark").alias("dataset"),
                       pl.col("role").alias("split"), pl.col("prompt").alias("text"), "role"))  # fmt: skip
    assert set(safety_requests(package_cache, None, 7, ())["kind"]) == {"harmless"}


@needs_published
@pytest.mark.network
def test_published_sizes(package_cache: Path) -> None:
    sets = ("do_not_answer", "harmbench", "simple_safety_tests", "strongreject", "xstest")
    found = safety_requests(package_cache, PUBLISHED, 7, sets, 10_000)
    counts = dict(found.group_by(pl.concat_str("benchmark", "kind", separator="/").alias("set")).len().iter_rows())
    assert counts["xstest/alarming"] == 250
    assert counts["xstest/harmful"] == 200
    assert counts["simple_safety_tests/harmful"] == 100
    assert counts["harmbench/harmful"] == 300
    assert counts["strongreject/harmful"] == 313
    assert 930 <= counts["do_not_answer/harmful"] <= 939
    own = found.filter(pl.col("benchmark") == "sounds_alarming")["prompt"]
    published = found.filter(~pl.col("benchmark").is_in(["sounds_alarming", "plain_requests"]))["prompt"]
    assert not set(normalised_keys(own)) & set(normalised_keys(published))
    prompts = published_prompts(PUBLISHED / "rtp_decodingtrust")
    assert prompts.height > 2_300
    # The publisher's two files are not split at .5 of the prompt's own score, so the score decides.
    assert 900 < (prompts["prompt_toxicity"] >= 0.5).sum() < 1_200
