"""How varied sampled continuations are."""

from __future__ import annotations

from collections.abc import Sequence

from curation_pipeline.evaluation.rows import Metric
from curation_pipeline.evaluation.statistics import Interval

BENCHMARK = "toxicity_prompts"


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct-n (Li et al., 2016): different n-grams of words over all n-grams, in [0, 1]; 0 where there is none.

    It falls with the amount of text, so compare models at the same prompts and samples only.
    """
    grams = [
        tuple(words[i : i + n]) for words in (text.lower().split() for text in texts) for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def diversity_metrics(texts: Sequence[str]) -> list[Metric]:
    """Distinct-1 and distinct-2; no interval, since a resample with repeats is less distinct by construction."""
    return [
        Metric(
            BENCHMARK,
            f"distinct_{n}",
            Interval(distinct_n(texts, n), float("nan"), float("nan"), len(texts)),
            "diversity",
            True,
        )
        for n in (1, 2)
    ]
