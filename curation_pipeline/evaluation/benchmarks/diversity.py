"""How varied sampled continuations are, and which topics they cover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Bootstrap, Interval
from curation_pipeline.evaluation.benchmark import Benchmark, Run
from curation_pipeline.evaluation.benchmarks.toxicity_prompts import NAME
from curation_pipeline.evaluation.rows import Metric

_ORDER = 4
_SMOOTHED = 0.1
"""Counts as the matches of an n-gram order that has none (Chen and Cherry, 2014, their first method)."""


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct-n (Li et al., 2016): different n-grams of words over all n-grams, in [0, 1]; 0 where there is none.

    It falls with the amount of text, so compare models at the same prompts and samples only.
    """
    grams = [gram for text in texts for gram in _grams(text.lower().split(), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[str]) -> float:
    """Self-BLEU (Zhu et al., 2018): mean BLEU-4 of each text against all others, in [0, 1]; high is monotonous.

    Words in lower case, the closest reference's length in the brevity penalty, smoothing where an order has no match.
    A text of fewer than four words scores 0, and so does one that is alone.
    """
    words = [text.lower().split() for text in texts]
    if len(words) < 2:
        return 0.0
    log_precision = np.zeros(len(words))
    orders = np.zeros(len(words))
    for n in range(1, _ORDER + 1):
        counts = [Counter(_grams(text, n)) for text in words]
        first: dict[tuple[str, ...], int] = {}
        second: dict[tuple[str, ...], int] = {}
        for count in counts:
            for gram, times in count.items():
                if times > first.get(gram, 0):
                    first[gram], second[gram] = times, first.get(gram, 0)
                elif times > second[gram]:
                    second[gram] = times
        for place, count in enumerate(counts):
            total = sum(count.values())
            if total:
                # The most that any other text has: the runner-up where the most is this text's own.
                others = {gram: first[gram] if first[gram] > times else second[gram] for gram, times in count.items()}
                matched = sum(min(times, others[gram]) for gram, times in count.items())
                log_precision[place] += np.log((matched or _SMOOTHED) / total)
                orders[place] += 1
    lengths = np.array([len(text) for text in words])
    scores = np.zeros(len(words))
    for index in np.flatnonzero(orders == _ORDER).tolist():
        rest = np.delete(lengths, index)
        closest = rest[np.lexsort((rest, np.abs(rest - lengths[index])))[0]]
        brevity = min(0.0, 1.0 - closest / lengths[index])
        scores[index] = np.exp(brevity + log_precision[index] / _ORDER)
    return float(scores.mean())


def diversity_metrics(groups: Sequence[Sequence[str]], bootstrap: Bootstrap) -> list[Metric]:
    """Distinct-1 to distinct-3 over all continuations, and self-BLEU inside each prompt's own.

    Distinct-n has no interval, since a resample with repeats is less distinct by construction; self-BLEU is a mean over
    prompts, which are resampled.

    Args:
        groups: the continuations of each prompt.
        bootstrap: how intervals are made.
    """
    flat = [text for group in groups for text in group]
    rows = [
        Metric(
            NAME,
            f"distinct_{n}",
            Interval(distinct_n(flat, n), float("nan"), float("nan"), len(flat)),
            "diversity",
            True,
        )
        for n in (1, 2, 3)
    ]
    if min(len(group) for group in groups) > 1:
        scores = np.array([self_bleu(group) for group in groups])
        rows.append(Metric(NAME, "self_bleu", bootstrap.mean(scores, "self_bleu"), "diversity", False))
    return rows


def coverage_metrics(written: np.ndarray, held_out: np.ndarray, bootstrap: Bootstrap) -> list[Metric]:
    """How the topics of what a model writes spread, against those of held-out text.

    - ``effective_topics``: exp of the entropy of the topics written, from 1 to their number;
    - ``topic_coverage``: sum over topics of the smaller of the two shares, in [0, 1]; 1 where the model writes about
      what people do, as often as they do.

    Resampling thins rare topics, so both intervals lean low; compare models at the same number of texts.

    Args:
        written: topic ids of n continuations.
        held_out: topic ids of m texts of people.
        bootstrap: how intervals are made; texts are resampled on both sides.
    """
    ids = np.unique(np.concatenate([written, held_out]))
    shares, draws = [], []
    for name, topics in (("written", written), ("held_out", held_out)):
        share = np.bincount(np.searchsorted(ids, topics), minlength=ids.size) / topics.size
        rng = bootstrap.rng("topics", name)
        shares.append(share)
        draws.append(rng.multinomial(topics.size, share, bootstrap.resamples) / topics.size)
    n = int(written.size)
    spread = bootstrap.interval(float(_effective(shares[0])), _effective(draws[0]), n)
    overlap = bootstrap.interval(
        float(np.minimum(*shares).sum()), np.minimum(*draws).sum(axis=-1), n + int(held_out.size)
    )
    return [
        Metric(NAME, "effective_topics", spread, "diversity", True),
        Metric(NAME, "topic_coverage", overlap, "diversity", True),
    ]


def _effective(shares: np.ndarray) -> np.ndarray:
    """Exponential of the entropy along the last axis."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(np.exp(-(shares * logs).sum(axis=-1)))


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _measure(run: Run) -> list[Metric]:
    written = run.written[NAME]
    by_prompt = written.group_by("prompt_id", maintain_order=True).agg("text")["text"].to_list()
    rows = diversity_metrics(by_prompt, run.bootstrap)
    if run.topics is None:
        return rows
    benign = run.heldout.filter(pl.col("kind") == "benign")["text"].to_list()
    return rows + coverage_metrics(run.topics(written["text"].to_list()), run.topics(benign), run.bootstrap)


BENCHMARK = Benchmark(name="diversity", axis="diversity", measure=_measure, order=11)
"""Its metrics are rows of the prompts' own benchmark."""
