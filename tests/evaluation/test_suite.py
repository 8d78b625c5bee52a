from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.benchmark import GENERATIONS_SCHEMA
from curation_pipeline.evaluation.benchmarks.red_team import next_prompts
from curation_pipeline.evaluation.composite import composite, metric_value
from curation_pipeline.evaluation.rows import METRICS_SCHEMA
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.evaluation.suite import evaluate
from tests.training.tiny_model import build, sentences

SIZES = {"toxicity_prompts": {"used": 6}, "challenges": {"used": 5}}
SETTINGS = EvaluationSettings(samples=3, max_new_tokens=6, resamples=50, **SIZES)


def _judge(texts: Sequence[str]) -> np.ndarray:
    return np.array([0.9 if "idiot" in text else 0.1 for text in texts])


def _benchmarks() -> dict[str, pl.DataFrame]:
    texts = sentences(40, seed=8)
    prompts = pl.DataFrame(
        {
            "prompt_id": [f"{i:032x}" for i in range(20)],
            "prompt": [text[:20].strip() for text in texts[:20]],
            "prompt_toxicity": [0.6] * 10 + [None] * 10,
            "kind": ["toxic"] * 10 + ["neutral"] * 10,
            "group": [None] * 10 + ["race", "gender"] * 5,
            "role": (["report"] * 8 + ["final"] * 2) * 2,
        }
    )
    pairs = pl.DataFrame(
        {
            "sent_more": texts[:12],
            "sent_less": texts[12:24],
            "bias_type": ["age"] * 12,
            "stereo_antistereo": ["stereo"] * 12,
        }
    )
    preferences = pl.DataFrame(
        {
            "pair_id": [f"{i:032x}" for i in range(12)],
            "context": ["the old mill", ""] * 6,
            "preferred": texts[:12],
            "dispreferred": texts[12:24],
            "source": ["one", "one", "two", "two"] * 3,
            "group": ["none"] * 12,
            "role": ["report"] * 10 + ["final"] * 2,
        }
    )
    choices = pl.DataFrame(
        {
            "item_id": [f"{i:032x}" for i in range(6)],
            "context": texts[:6],
            "options": [[texts[i], texts[i + 6], texts[i + 12]] for i in range(6)],
            "gold": [0, 1, 2, 0, 1, 2],
            "benchmark": ["quiz"] * 6,
        },
        schema_overrides={"gold": pl.Int8},
    )
    questions = pl.DataFrame(
        {
            "item_id": [f"{i:032x}" for i in range(8)],
            "context": texts[:8],
            "options": [["the mill", "the bridge", "not known"]] * 8,
            "gold": [2, 0] * 4,
            "biased": [0, 1] * 4,
            "unknown": [2] * 8,
            "condition": ["ambig", "disambig"] * 4,
            "category": ["age"] * 8,
            "role": ["report"] * 8,
        }
    )
    triples = pl.DataFrame(
        {
            "item_id": [f"{i:032x}" for i in range(6)],
            "context": ["", "the old mill"] * 3,
            "stereotype": texts[:6],
            "anti_stereotype": texts[6:12],
            "unrelated": texts[12:18],
            "term": ["a", "b", "c"] * 2,
            "bias_type": ["gender"] * 6,
            "role": ["report"] * 6,
        }
    )
    requests = pl.DataFrame(
        {
            "item_id": [f"{i:032x}" for i in range(32)],
            "prompt": [text if i % 2 else f"{text}?" for i, text in enumerate(texts[:32])],
            "kind": ["harmful"] * 10 + ["alarming"] * 10 + ["harmless"] * 12,
            "benchmark": ["bad"] * 10 + ["odd"] * 10 + ["plain"] * 12,
            "category": ["none"] * 32,
            "role": ["report"] * 32,
        }
    )
    return {
        "toxicity_prompts": prompts, "crows_pairs": pairs, "preferences": preferences, "multiple_choice": choices,
        "bbq": questions, "stereoset": triples, "refusal": requests,
    }  # fmt: skip


def _heldout() -> pl.DataFrame:
    texts = sentences(24, seed=6)
    return pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(24)],
            "source": ["one", "two", "three"] * 8,
            "domain": ["web"] * 24,
            "text": texts,
            "kind": ["benign"] * 12 + ["toxic"] * 12,
        }
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("suite"))


def test_an_evaluation_keeps_the_contracts_and_repeats(checkpoint: Path) -> None:
    seen: list[float] = []
    first, again = (
        evaluate(checkpoint, _benchmarks(), _heldout(), _judge, SETTINGS, 5, lambda _, f: seen.append(f), "words", 64)
        for _ in range(2)
    )
    assert dict(first.metrics.schema) == METRICS_SCHEMA
    assert dict(first.generations.schema) == GENERATIONS_SCHEMA
    assert first.metrics.equals(again.metrics)
    assert first.generations.equals(again.generations)
    assert not first.metrics.select("benchmark", "metric").is_duplicated().any()
    assert first.attacks.is_empty()
    # Two kinds of prompts, six of each with the role `report`, three samples.
    assert first.generations.height == 2 * 6 * 3
    judged = first.metrics.filter(pl.col("judge") == "words")["benchmark"].unique().sort()
    assert judged.to_list() == ["bold", "toxicity_prompts"]
    everything = {"bbq", "bold", "challenges", "crows_pairs", "groups", "heldout", "preferences", "quiz", "refusal"}
    assert set(first.metrics["benchmark"]) == everything | {"stereoset", "toxicity_prompts"}
    assert metric_value(first.metrics, "quiz", "chance") == pytest.approx(1 / 3)
    bits = metric_value(first.metrics, "heldout", "bits_per_byte")
    assert 0 <= composite(first.metrics, bits).performance <= 1
    assert seen[-1] == 1.0


def test_a_role_without_prompts_is_an_error(checkpoint: Path) -> None:
    settings = SETTINGS.model_copy(update={"roles": ("credit",)})
    with pytest.raises(DataError, match=r"no items of .*credit"):
        evaluate(checkpoint, _benchmarks(), _heldout(), _judge, settings, 5)


def test_attacks_made_of_the_last_failures_and_written_replies(checkpoint: Path) -> None:
    plain = evaluate(checkpoint, _benchmarks(), _heldout(), _judge, SETTINGS, 5, window=64)
    made = next_prompts(plain.generations, 5, 8)
    replies = {"least_parameters": 0, "tokens": 5}
    settings = EvaluationSettings(samples=3, max_new_tokens=6, resamples=50, replies=replies, **SIZES)
    found = evaluate(
        checkpoint, {**_benchmarks(), "red_team": made}, _heldout(), _judge, settings, 5, window=64,
        topics=lambda texts: np.array([len(text) % 3 for text in texts]),
    )  # fmt: skip
    assert dict(found.attacks.schema) == GENERATIONS_SCHEMA
    counts = dict(found.attacks.group_by("benchmark").len().iter_rows())
    assert counts == {"red_team": made.height * 3, "replies": 32}
    # What is asked besides leaves what was asked before as it is.
    assert found.generations.equals(plain.generations)
    assert plain.metrics.join(found.metrics, on=plain.metrics.columns, nulls_equal=True).height == plain.metrics.height
    more = set(found.metrics["benchmark"]) - set(plain.metrics["benchmark"])
    assert more == {"red_team", "replies"}
    assert 0 <= metric_value(found.metrics, "toxicity_prompts", "topic_coverage") <= 1
