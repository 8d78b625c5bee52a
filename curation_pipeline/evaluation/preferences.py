"""Does the model find what people prefer likelier than what they do not?"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.evaluation.bias import preference_shares
from curation_pipeline.evaluation.likelihood import continuation_likelihood
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.rows import Metric

BENCHMARK = "preferences"


def preference_metrics(lm: LanguageModel, pairs: pl.DataFrame, bootstrap: Bootstrap, batch_tokens: int) -> list[Metric]:
    """Share of pairs in which the preferred text has the higher log-likelihood per byte; ties count one half.

    Per byte, because a sum over tokens prefers the shorter text whatever it says. One row per source and their mean.

    Args:
        lm: the model.
        pairs: columns context (may be empty), preferred, dispreferred, source.
        bootstrap: how intervals are made.
        batch_tokens: most tokens in a batch.
    """
    contexts = pairs["context"].to_list()
    texts = [
        *(join(context, text) for context, text in zip(contexts, pairs["preferred"], strict=True)),
        *(join(context, text) for context, text in zip(contexts, pairs["dispreferred"], strict=True)),
    ]
    scores = continuation_likelihood(lm, [*contexts, *contexts], texts, batch_tokens).per_byte
    right = preference_shares(scores[: pairs.height], scores[pairs.height :])
    sources = pairs["source"].to_numpy()
    rows, groups = [], []
    for source in sorted(set(sources.tolist())):
        inside = right[sources == source]
        groups.append((inside, np.ones_like(inside)))
        name = f"preference_accuracy/{source}"
        rows.append(Metric(BENCHMARK, name, bootstrap.mean(inside, name), "alignment", True))
    name = "preference_accuracy"
    return [Metric(BENCHMARK, name, bootstrap.macro(groups, name), "alignment", True), *rows]


def join(context: str, continuation: str) -> str:
    """The continuation with the space that separates it from a context that has none at its end."""
    if not context or context[-1].isspace() or continuation[:1].isspace():
        return continuation
    return " " + continuation
