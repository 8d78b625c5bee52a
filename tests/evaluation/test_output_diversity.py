from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.evaluation.benchmarks import bold
from curation_pipeline.evaluation.benchmarks.diversity import coverage_metrics, distinct_n, diversity_metrics, self_bleu
from curation_pipeline.evaluation.benchmarks.groups import heldout_group_metrics, sentence_metrics
from curation_pipeline.evaluation.group_gap import gap_of_groups
from curation_pipeline.evaluation.model import LanguageModel
from tests.training.tiny_model import build, sentences

BOOTSTRAP = Bootstrap(seed=1, resamples=400, confidence=0.95)


def test_self_bleu_agrees_with_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    texts = [*sentences(12, seed=4), "The river the river the old mill", "the river the old old mill the", "Two boats"]
    metric = sacrebleu.BLEU(
        tokenize="none", lowercase=True, smooth_method="floor", smooth_value=0.1, effective_order=False
    )
    expected = [
        metric.sentence_score(text, texts[:place] + texts[place + 1 :]).score / 100 if len(text.split()) >= 4 else 0.0
        for place, text in enumerate(texts)
    ]
    assert self_bleu(texts) == pytest.approx(np.mean(expected), abs=1e-9)


def test_one_text_again_and_again_is_told_from_different_ones() -> None:
    assert self_bleu(["a quiet town by the river"] * 4) == pytest.approx(1.0)
    assert self_bleu(["one two three four", "five six seven eight"]) < 0.05
    assert self_bleu(["alone in the old mill"]) == 0.0
    assert self_bleu(["", ""]) == 0.0
    same, other = (
        {row.metric: row.interval.value for row in diversity_metrics(groups, BOOTSTRAP)}
        for groups in ([["a b c d e"] * 4] * 3, [sentences(4, seed) for seed in range(3)])
    )
    assert same["self_bleu"] > other["self_bleu"]
    assert same["distinct_3"] < other["distinct_3"]
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)


def test_topics_by_hand() -> None:
    rows = {
        row.metric: row.interval.value
        for row in coverage_metrics(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 7]), BOOTSTRAP)
    }
    assert rows["effective_topics"] == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert rows["topic_coverage"] == pytest.approx(0.25 + 0.25)


def test_a_gap_of_groups_is_told_from_what_shuffling_gives() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "c", "d", "e"], 20)
    none, chance = gap_of_groups(rng.normal(size=100), groups, BOOTSTRAP, "none")
    assert chance.low <= none.value <= chance.high  # about .5, although the groups are alike
    planted = rng.normal(size=100) + 2.0 * (groups == "c")
    gap, chance = gap_of_groups(planted, groups, BOOTSTRAP, "planted")
    assert gap.value > chance.high
    assert gap_of_groups(np.ones(4), np.array(["a", "a", "b", "b"]), BOOTSTRAP)[0].value == 0.0


def test_bold_by_hand() -> None:
    generations = pl.DataFrame(
        {
            "prompt_id": ["a", "a", "b", "b", "c", "c", "x", "x"],
            "score": [0.1, 0.3, 0.5, 0.1, 0.8, 0.2, 0.9, 0.9],
            "text": ["the old stone mill by the river", "the old stone mill by the river", "a b c d", "e f g h"] * 2,
        }
    )
    prompts = pl.DataFrame(
        {
            "prompt_id": ["a", "b", "c", "x"],
            "kind": ["neutral", "neutral", "neutral", "toxic"],
            "group": ["race", "race", "gender", None],
        }
    )
    run = SimpleNamespace(
        written={"toxicity_prompts": generations}, items={"toxicity_prompts": prompts}, bootstrap=BOOTSTRAP,
        judge_name="judge",
    )  # fmt: skip
    rows = {row.metric: row.interval.value for row in bold.measure(run)}
    assert rows["expected_max_toxicity/race"] == pytest.approx(0.4)
    assert rows["expected_max_toxicity/gender"] == pytest.approx(0.8)
    assert rows["expected_max_toxicity_gap"] == pytest.approx(0.4)
    assert rows["self_bleu/gender"] == pytest.approx(1.0)
    assert rows["self_bleu/race"] == pytest.approx(0.5 * (1.0 + self_bleu(["a b c d", "e f g h"])))
    run.items = {"toxicity_prompts": prompts.filter(pl.col("kind") == "toxic")}
    assert bold.measure(run) == []


def test_bits_of_groups_inside_their_source_by_hand() -> None:
    # Ten texts of each source; in `one` those about women cost twice as much, in `two` there are none.
    texts = ["The women sang in the hall."] * 10 + ["The choir sang in the hall."] * 10 + ["Soup with carrots."] * 10
    heldout = pl.DataFrame({"doc_id": [f"{i:032x}" for i in range(30)], "text": texts})
    scores = heldout.select("doc_id").with_columns(
        pl.Series("source", ["one"] * 20 + ["two"] * 10),
        pl.lit("benign").alias("kind"),
        pl.Series("nll", [20.0 * math.log(2)] * 10 + [10.0 * math.log(2)] * 10 + [90.0] * 10),
        pl.Series("n_bytes", [10] * 30),
    )
    rows = {row.metric: row.interval.value for row in heldout_group_metrics(heldout, scores, BOOTSTRAP)}
    assert rows == {
        "bits_per_byte/identity_gender": pytest.approx(2.0),
        "excess_bits/identity_gender": pytest.approx(1),
    }
    assert heldout_group_metrics(heldout.head(7), scores, BOOTSTRAP) == []


def test_sentences_that_differ_in_the_group_alone(tmp_path: Path) -> None:
    lm = LanguageModel.load(build(tmp_path), 64)
    run = SimpleNamespace(lm=lm, bootstrap=BOOTSTRAP, batch_tokens=4_096)
    rows = {row.metric: row.interval for row in sentence_metrics(run)}
    means = [
        rows[f"after_mention/{name}"].value for name in ("disability", "gender", "orientation", "race", "religion")
    ]
    assert all(0.5 < mean < 12 for mean in means)
    assert rows["after_mention_gap"].value == pytest.approx(max(means) - min(means))
    assert rows["dialect_excess"].n > 25
