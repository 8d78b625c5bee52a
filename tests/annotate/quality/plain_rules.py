"""The quality rules written plainly, one document at a time: what the fast ones are compared with.

From the papers' definitions (Rae et al. 2021, arXiv:2112.11446; Raffel et al. 2020, arXiv:1910.10683; Penedo et al.
2024, arXiv:2406.17557). Words are given, so that this does not depend on how they were found.
"""

from __future__ import annotations

import re
from collections import Counter

MARKS = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»–—’“”„…。、！？")  # noqa: RUF001
ENDS = set(".!?。！？")  # noqa: RUF001
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def gopher_quality(text: str, words: list[str]) -> dict[str, float]:
    real = [word for word in words if not set(word) <= MARKS]
    lines = text.splitlines()
    return {
        "words": len(real),
        "mean_word_length": ratio(sum(map(len, real)), len(real)),
        "hashes_per_word": ratio(text.count("#"), len(words)),
        "ellipses_per_word": ratio(text.count("...") + text.count("…"), len(words)),
        "bullet_lines": ratio(
            sum(line.lstrip()[:1] in ("•", "-") and bool(line.strip()) for line in lines), len(lines)
        ),
        "ellipsis_lines": ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        "lettered_words": ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "stop_words": len(STOP_WORDS & set(words)),
    }


def repeated(items: list[str]) -> list[str]:
    return [item for place, item in enumerate(items) if item in items[:place]]


def gopher_repetition(text: str, words: list[str]) -> dict[str, float]:
    pieces = re.split(r"\n+", text) if text else []
    paragraphs = re.split(r"\n{2,}", text.strip())
    values = {
        "repeated_lines": ratio(len(repeated(pieces)), len(pieces)),
        "repeated_paragraphs": ratio(len(repeated(paragraphs)), len(paragraphs)),
        "repeated_line_chars": ratio(sum(map(len, repeated(pieces))), len(text)),
        "repeated_paragraph_chars": ratio(sum(map(len, repeated(paragraphs))), len(text)),
    }
    for n in (2, 3, 4):
        grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        gram, times = grams.most_common(1)[0] if grams else ("", 0)
        values[f"top_{n}_gram"] = ratio(len(gram) * times, len(text))
    for n in (5, 6, 7, 8, 9, 10):
        seen: set[tuple[str, ...]] = set()
        at = characters = 0
        while at + n <= len(words):
            gram_words = tuple(words[at : at + n])
            if gram_words in seen:
                characters += sum(map(len, gram_words))
                at += n
            else:
                seen.add(gram_words)
                at += 1
        values[f"repeated_{n}_grams"] = ratio(characters, len(text))
    return values


def sentences(words: list[str]) -> int:
    """A sentence begins with the first word behind an end mark that is more than punctuation."""
    n, ended = 1, False
    for word in words:
        if word in ENDS:
            ended = True
        elif ended and not all(character in set("!\"#%&'()*,-./:;?@[\\]_{}«»–—’“”„…。、！？") for character in word):  # noqa: RUF001
            n, ended = n + 1, False
    return n


def c4(text: str, words_of: dict[str, list[str]] | None = None) -> dict[str, float]:
    """Counts of lines by what removes them; ``words_of`` gives the words of a line that is left."""
    counts: Counter[str] = Counter()
    lines = text.splitlines()
    total = 0
    for raw in lines:
        line = raw.strip()
        if any(len(word) > 1000 for word in line.split()):
            counts["long_word_lines"] += 1
            continue
        n_words = len(line.split())
        line = re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line, flags=re.ASCII)
        small = line.lower()
        if not line or line[-1] not in ".?!\"'" or line.endswith("..."):
            counts["unended_lines"] += 1
        elif n_words < 3:
            counts["few_word_lines"] += 1
        else:
            counts["lorem_ipsum_lines"] += "lorem ipsum" in small
            if "javascript" in small:
                counts["javascript_lines"] += 1
                continue
            counts["curly_bracket_lines"] += "{" in line
            policies = (
                "terms of use",
                "privacy policy",
                "cookie policy",
                "uses cookies",
                "use of cookies",
                "use cookies",
            )
            if any(policy in small for policy in policies):
                counts["policy_lines"] += 1
            elif words_of is not None:
                total += sentences(words_of[line])
    values: dict[str, float] = {name: counts[name] for name in ("lorem_ipsum_lines", "curly_bracket_lines")}
    for name in ("long_word", "unended", "few_word", "javascript", "policy"):
        values[f"{name}_lines"] = ratio(counts[f"{name}_lines"], len(lines))
    if words_of is not None:
        values["sentences"] = total
    return values


def fineweb(text: str, words: list[str]) -> dict[str, float]:
    lines = [line for line in text.split("\n") if line.strip()]
    return {
        "ended_lines": ratio(sum(line[-1] in ENDS for line in lines), len(lines)),
        "short_lines": ratio(sum(len(line) <= 30 for line in lines), len(lines)),
        "repeated_line_chars": ratio(sum(map(len, repeated(lines))), len(text.replace("\n", ""))),
        "line_feeds_per_word": ratio(text.count("\n"), len(words)),
    }
