"""Documents on which whole pipelines are compared: real sentences of the packaged corpora in new combinations.

A tenth of the documents are near copies of an earlier one, a tenth are damaged in one of the ways that quality rules
look for, and a fifth carry personal data and things that look like it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from planted_duplicates import sentences
from planted_pii import plant
from quality_documents import DAMAGES

COPIES = 0.1
"""Share of documents that are an earlier one with one word in fifty replaced."""
DAMAGED = 0.1
FILE_DOCUMENTS = 25_000
PARAGRAPH = 4
"""Sentences in a paragraph."""


def write_documents(folder: Path, n: int, words: int, cache: Path, seed: int = 5) -> int:
    """Write ``n`` documents of about ``words`` words as JSONL files of ``id`` and ``text``; the bytes in all."""
    pool = sentences(cache)
    mean = sum(len(sentence.split()) for sentence in pool) / len(pool)
    texts = list(_texts(pool, n, max(words / mean, 1.0), np.random.default_rng(seed)))
    texts, _ = plant(texts, seed)
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame({"id": [f"d{i:07d}" for i in range(n)], "text": texts})
    for start in range(0, n, FILE_DOCUMENTS):
        frame.slice(start, FILE_DOCUMENTS).write_ndjson(folder / f"part-{start // FILE_DOCUMENTS:04d}.jsonl")
    return sum(file.stat().st_size for file in folder.iterdir())


def _texts(pool: list[str], n: int, sentences_each: float, rng: np.random.Generator) -> Iterator[str]:
    damages = list(DAMAGES.values())
    earlier: list[str] = []
    for i in range(n):
        draw = rng.random()
        if earlier and draw < COPIES:
            yield _copy(earlier[int(rng.integers(len(earlier)))], pool, rng)
            continue
        count = max(1, round(float(rng.normal(sentences_each, sentences_each / 4))))
        parts = [pool[pick] for pick in rng.integers(0, len(pool), count)]
        if draw < COPIES + DAMAGED:
            text = damages[i % len(damages)](parts, float(rng.uniform()), rng)
        else:
            paragraphs = (" ".join(parts[k : k + PARAGRAPH]) for k in range(0, count, PARAGRAPH))
            text = "\n\n".join(paragraphs)
        # `plant` needs four words to put things between.
        yield text if len(text.split(" ")) >= 4 else " ".join([*parts, pool[0]])
        if len(earlier) < 10_000:
            earlier.append(text)


def _copy(text: str, pool: list[str], rng: np.random.Generator) -> str:
    """The text with a word in fifty, at least one, replaced by one of another sentence."""
    words = re.split(r"( +)", text)
    for place in rng.choice(range(0, len(words), 2), size=max(1, len(words) // 100), replace=False):
        other = pool[int(rng.integers(len(pool)))].split()
        words[int(place)] = other[int(rng.integers(len(other)))]
    return "".join(words)
