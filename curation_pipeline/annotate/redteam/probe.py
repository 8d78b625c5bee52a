"""Which words a detector decides by, found from the outside: by taking each out and scoring what is left.

Li et al. (2019, "TextBugger") and Jin et al. (2020, "TextFooler") rank words so. Nothing of the detector is known to
the attacker but its scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation_pipeline.annotate.redteam.variants import Span, content_words


def without_each(texts: Sequence[str], most: int) -> tuple[list[str], list[list[Span]]]:
    """Every text without each of its content words in turn.

    Args:
        texts: n texts.
        most: only the first so many content words of a text are tried.

    Returns:
        All shortened texts, text by text, and for each text the words that were taken out, in the same order.
    """
    spans = [content_words(text)[:most] for text in texts]
    shortened = [text[:start] + text[end:] for text, words in zip(texts, spans, strict=True) for start, end in words]
    return shortened, spans


def influential(scores: np.ndarray, shortened: np.ndarray, spans: Sequence[Sequence[Span]], k: int) -> list[list[Span]]:
    """The words of each text whose removal lowers its score most.

    Args:
        scores: (n,) of the whole texts.
        shortened: scores of what :func:`without_each` gave, in its order.
        spans: the words taken out.
        k: words wanted of each text.

    Returns:
        At most k words of each text; ties go to the earlier word.
    """
    chosen, at = [], 0
    for score, words in zip(scores, spans, strict=True):
        drops = score - shortened[at : at + len(words)]
        at += len(words)
        order = np.argsort(-drops, kind="stable")[:k]
        chosen.append([words[int(i)] for i in order])
    return chosen
