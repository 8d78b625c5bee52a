"""The profile's detectors as stages make and open them: what labels change, what is asked twice, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation_pipeline.annotate.expert import ask_expert
from curation_pipeline.config import validate_profile
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import partition_sources
from curation_pipeline.stages.detectors import (
    check_detectors,
    models_in_force,
    open_detector,
    open_expert,
    score_teachers,
)
from tests.hosted_server import Reply, Server, verdict
from tests.stages.sources import make

pytestmark = pytest.mark.network
RUDE = ["what an idiot you are", "stupid fool, go away", "you moron, nobody likes you", "shut up you clown"]
CALM = ["the river runs to the sea", "she reads a book every week", "trains leave at noon", "the cake was very good"]


def write(path: Path, n: int, rude: list[str] = RUDE) -> None:
    rows = [(f"{text} number {i}", label) for i in range(n) for text, label in
            ((rude[i % len(rude)], 1), (CALM[i % len(CALM)], 0))]  # fmt: skip
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)


def context(root: Path, cache: Path, **annotate: Any) -> Context:
    files = [
        {"name": "insults", "path": str(root / "insults.csv"), "axis": "toxicity"},
        {"name": "beside", "path": str(root / "beside.csv"), "axis": "subtle"},
    ]
    profile = validate_profile(
        {
            "name": "detecting",
            "corpus": {"sources": [{"kind": "package", "name": "wiki", "dataset": "bold", "limit": 50}]},
            "labels": {"files": files},
            "annotate": {
                "teachers": ["alt_profanity", "harm_head"],
                "heads": {"harm_head": ["insults"], "inverse_penalty": [3.0], "bits": 14},
                **annotate,
            },
        },
        "test",
    )
    return Context(Lake.open(root / "lake"), profile, cache)


@pytest.mark.slow
def test_only_labels_that_a_head_learns_from_make_new_detectors(tmp_path: Path, package_cache: Path) -> None:
    write(tmp_path / "insults.csv", 60), write(tmp_path / "beside.csv", 20)
    ctx = context(tmp_path, package_cache)
    make(ctx, "labels")
    first = make(ctx, "detectors")
    make(ctx, "cascade")
    scores = score_teachers(ctx, pl.Series(["you idiot, number 3", "a quiet lake"]), models_in_force(ctx))
    assert scores.columns[:2] == ["alt_profanity", "alt_profanity_mean"]
    assert {"harm_head", "harm_head_mean", "obfuscation"} <= set(scores.columns)
    assert scores["harm_head"][0] > 0.5 > scores["harm_head"][1]
    # Another set's labels change: labels are another artefact, the detectors are not.
    write(tmp_path / "beside.csv", 30)
    assert make(ctx, "labels").id not in first.inputs
    assert make(ctx, "detectors").id == first.id
    write(tmp_path / "insults.csv", 60, [*RUDE[1:], "you are a quiet lake"])
    make(ctx, "labels")
    again = make(ctx, "detectors")
    assert again.id != first.id
    assert score_teachers(ctx, pl.Series(["you idiot, number 3"]), models_in_force(ctx)).height == 1


def test_all_that_is_missing_is_said_at_once(
    tmp_path: Path, package_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write(tmp_path / "insults.csv", 10), write(tmp_path / "beside.csv", 10)
    heads = {"subtle_head": ["nowhere"], "harm_head": ["insults"]}
    ctx = context(tmp_path, package_cache, teachers=["alt_profanity", "subtle_head"], expert="openai_chat", heads=heads)
    with pytest.raises(ConfigError) as caught:
        check_detectors(ctx)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "nowhere" in str(caught.value)
    (tmp_path / "beside.csv").unlink()
    with pytest.raises(ConfigError, match=r"beside.csv"):
        check_detectors(ctx)


def test_a_hosted_teacher_is_asked_about_a_text_once(
    tmp_path: Path, package_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moderation service that is over its quota at first; its scores are kept in the state folder."""
    from curation_pipeline.annotate.detectors.openai_moderation import ModerationSettings

    categories = ModerationSettings().categories

    def answer(number: int, body: Any) -> Reply:
        if number == 1:
            return Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "0"})
        results = [{"flagged": "idiot" in text, "categories": {},
                    "category_scores": {name: 0.9 if "idiot" in text else 0.01 for name in categories}}
                   for text in body["input"]]  # fmt: skip
        return Reply({"id": "m", "model": "m", "results": results})

    monkeypatch.setenv("MODERATION_KEY", "secret-of-the-service")
    write(tmp_path / "insults.csv", 10), write(tmp_path / "beside.csv", 10)
    with Server(answer) as server:
        service = {"base_url": server.url, "api_key_env": "MODERATION_KEY", "requests_per_minute": 6000.0}
        ctx = context(
            tmp_path,
            package_cache,
            teachers=["alt_profanity", "openai_moderation"],
            hosted={"openai_moderation": service},
        )
        check_detectors(ctx)
        make(ctx, "labels"), make(ctx, "detectors"), make(ctx, "cascade")
        assert open_expert(ctx, models_in_force(ctx)) is None
        texts = pl.Series(["you idiot", "a quiet lake", "you idiot"])
        scores = score_teachers(ctx, texts, models_in_force(ctx))
        assert [round(value, 2) for value in scores["openai_moderation"]] == [0.9, 0.01, 0.9]
        asked = len(server.seen)
        assert score_teachers(ctx, texts, models_in_force(ctx)).equals(scores)
        assert len(server.seen) == asked == 2
    for path in (tmp_path / "lake").rglob("*"):
        if path.is_file():
            assert b"secret-of-the-service" not in path.read_bytes()


@pytest.mark.slow
def test_a_cascade_of_the_profile_is_calibrated_on_its_corpus(tmp_path: Path, package_cache: Path) -> None:
    write(tmp_path / "insults.csv", 60), write(tmp_path / "beside.csv", 10)
    ctx = context(
        tmp_path,
        package_cache,
        teachers=["alt_profanity", "cascade"],
        cascade={"expensive": "harm_head", "student_sample": 300, "calibration_sample": 400, "test_sample": 100},
    )
    make(ctx, "labels"), make(ctx, "benchmarks"), make(ctx, "detectors")
    for key in sorted(partition_sources(ctx)):
        make(ctx, "documents", key)
    made = make(ctx, "cascade")
    assert made.summary["used"] is True
    assert make(ctx, "cascade").id == made.id
    models = models_in_force(ctx)
    texts = pl.Series(["you idiot, number 3", *CALM])
    scores = score_teachers(ctx, texts, models)
    assert {"cascade", "cascade_asked"} <= set(scores.columns)
    expensive = open_detector(ctx, "harm_head", models).score(texts.to_list())["harm_head"]
    asked = scores["cascade_asked"] == 1
    assert scores["cascade"].filter(asked).equals(expensive.filter(asked), check_names=False)


def test_the_expert_of_the_profile_labels_with_reasons(
    tmp_path: Path, package_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-service")
    write(tmp_path / "insults.csv", 10), write(tmp_path / "beside.csv", 10)

    def answer(number: int, body: Any) -> Reply:
        return Reply(verdict(body, harm=0.8 if "idiot" in body["messages"][1]["content"] else 0.1))

    with Server(answer) as server:
        service = {"base_url": server.url, "requests_per_minute": 6000.0}
        ctx = context(
            tmp_path, package_cache, teachers=["alt_profanity"], expert="openai_chat", hosted={"openai_chat": service}
        )
        check_detectors(ctx)
        make(ctx, "labels"), make(ctx, "detectors"), make(ctx, "cascade")
        expert = open_expert(ctx, models_in_force(ctx))
        assert expert is not None
        documents = pl.DataFrame({"doc_id": ["a" * 32, "b" * 32], "text": ["you idiot", "a lake"], "probability": 0.1})
        answers = ask_expert(expert, documents)
        asked = len(server.seen)
        again = open_expert(ctx, models_in_force(ctx))
        assert again is not None
        assert ask_expert(again, documents).equals(answers)
        assert len(server.seen) == asked == 2
    assert [round(label, 2) for label in answers["label"]] == [0.8, 0.1]
    assert answers["rationale"].null_count() == 0
