from __future__ import annotations

from dataclasses import replace

import polars as pl
import yaml

from curation_pipeline.stages.model_card import LIMITS, CardFacts, model_card

FACTS = CardFacts(
    identity="checkpoints-0123456789abcdef",
    profile="demo",
    arm="random/demo-0",
    iteration=3,
    arm_seed=1,
    started_from="checkpoints-fedcba9876543210",
    start="the checkpoint in force before it",
    pretrained="someone/small-model",
    batch="batches-0011223344556677",
    data={"documents": 1_234, "tokens": 98_765},
    composition={"source": {"reddit": 0.25, "a|b": 0.75}},
    partitions=pl.DataFrame({"partition": ["reddit|2026-01"], "artefact": ["documents-aa"], "documents": [5_000]}),
    training={"weighting": "loss", "final_loss": 3.21},
    known={"safety": 0.5, "performance": 0.625},
)


def _front(card: str) -> dict[str, object]:
    _, front, _ = card.split("---\n", 2)
    found: dict[str, object] = yaml.safe_load(front)
    return found


def test_a_card_states_data_arm_iteration_and_limits_before_it_has_metrics() -> None:
    card = model_card(FACTS)
    assert _front(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": "en",
        "tags": ["data-curation", "arm:random/demo-0"],
        "base_model": "someone/small-model",
    }
    for fact in ("iteration 3", "batches-0011223344556677", "| documents | 1234 |", "| reddit | 0.25 |", "a\\|b",
                 "| reddit\\|2026-01 | `documents-aa` | 5000 |", "| performance | 0.625 |", *LIMITS):  # fmt: skip
        assert fact in card, fact
    assert "table `metrics`" in card


def test_a_card_holds_its_metrics_once_they_are_known() -> None:
    metrics = pl.DataFrame(
        {
            "benchmark": ["heldout", "heldout"],
            "metric": ["bits", "bits/x"],
            "value": [2.25, 2.0],
            "ci_low": [2.2, None],
            "ci_high": [2.3, None],
            "n": [40, 4],
        }
    )
    card = model_card(replace(FACTS, metrics=metrics, performance={"safety": 0.7}, metrics_artefact="metrics-1"))
    assert _front(card)["model-index"] == [
        {
            "name": FACTS.identity,
            "results": [
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"name": "heldout", "type": "heldout"},
                    "metrics": [{"type": "bits", "value": 2.25}],
                }
            ],
        }
    ]
    assert "| heldout | bits/x | 2 |  |  | 4 |" in card
    assert "`metrics-1`" in card


def test_a_local_start_is_no_base_model_of_a_hub() -> None:
    for local in ("/models/x", "./x", "package:smollm2-135m-instruct"):
        assert "base_model" not in _front(model_card(replace(FACTS, pretrained=local)))
