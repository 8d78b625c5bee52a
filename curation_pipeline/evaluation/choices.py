"""Multiple choice by likelihood."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Bootstrap, Interval
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.likelihood import continuation_likelihood
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.preferences import join
from curation_pipeline.evaluation.rows import Metric


def choice_metrics(lm: LanguageModel, items: pl.DataFrame, bootstrap: Bootstrap, batch_tokens: int) -> list[Metric]:
    """Accuracy of choosing the option with the highest log-likelihood per byte, with the chance level beside it.

    An item whose best options tie earns its share of a hit (1 / number of tied options if gold is among them), so that
    a model that says nothing is at chance, whatever the order of the options; ``tie_rate`` says how often it happened.

    Args:
        lm: the model.
        items: columns context, options (list), gold (index), benchmark.
        bootstrap: how intervals are made.
        batch_tokens: most tokens in a batch.

    Raises:
        DataError: when an item's gold is not the index of one of its options.
    """
    options = items["options"].to_list()
    gold = items["gold"].to_numpy().astype(np.int64)
    counts = np.array([len(row) for row in options], dtype=np.int64)
    if ((gold < 0) | (gold >= counts)).any():
        bad = int(np.flatnonzero((gold < 0) | (gold >= counts))[0])
        raise DataError(f"choice item {bad} has gold {gold[bad]} but {counts[bad]} options; gold counts from 0")
    contexts = items["context"].to_list()
    flat = [(context, join(context, text)) for context, row in zip(contexts, options, strict=True) for text in row]
    scores = continuation_likelihood(lm, [c for c, _ in flat], [t for _, t in flat], batch_tokens).per_byte
    hits, ties = accuracy(scores, counts, gold)
    benchmarks = items["benchmark"].to_numpy()
    rows: list[Metric] = []
    for benchmark in sorted(set(benchmarks.tolist())):
        inside = benchmarks == benchmark
        n = int(inside.sum())
        rows.append(Metric(benchmark, "accuracy", bootstrap.mean(hits[inside], benchmark), "capability", True))
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
