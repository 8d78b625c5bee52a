"""Disguises of words that people still read: the families of change that evade toxicity detectors.

Hosseini et al. (2017, arXiv:1702.08138) misspelled, dotted and spaced out words against Perspective; Gröndahl et al.
(2018, arXiv:1808.09115) showed the same of other detectors; Boucher et al. (2022, "Bad Characters") added characters
that cannot be seen and those that look alike. A disguise here changes single words and leaves the rest of a text as it
is; the first letter of a misspelled word stays, by which readers recognise it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from curation_pipeline.annotate.obfuscation import CYRILLIC
from curation_pipeline.seeds import generator

Span = tuple[int, int]
"""Start and end of a word in its text."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")

_FUNCTION = (
    "a about after all also am an and any are as at be because been before being but by can could did do does doing "
    "don't down for from get go got had has have having he her here hers him his how i i'm if in into is it it's its "
    "just let like may me might more most must my no nor not now of off on one only or other our ours out over own she "
    "should so some such than that that's the their theirs them then there these they they're this those through to "
    "too up us very was we were what when where which while who why will with would yes yet you you're "
    "your yours"
)
FUNCTION_WORDS = frozenset(_FUNCTION.split())
"""Words whose change disguises nothing."""

_LEET = {"a": "@4", "e": "3", "i": "1!", "o": "0", "s": "$5"}
_ALIKE = {latin: letter for letter, latin in CYRILLIC.items() if latin in "aceijopsxyABCEHIKMOPTX"}
_UNSEEN = ("\u200b", "\u200c", "\u200d", "\u2060", "\u00ad")
_MARKS = (".", "-", "*", "_")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Letters next to each letter on a QWERTY keyboard; each row is shifted by half a key."""
    found: dict[str, str] = {}
    for row, keys in enumerate(_ROWS):
        for place, key in enumerate(keys):
            beside = [keys[i] for i in (place - 1, place + 1) if 0 <= i < len(keys)]
            if row + 1 < len(_ROWS):
                beside += [_ROWS[row + 1][i] for i in (place - 1, place) if 0 <= i < len(_ROWS[row + 1])]
            if row:
                beside += [_ROWS[row - 1][i] for i in (place, place + 1) if i < len(_ROWS[row - 1])]
            found[key] = "".join(sorted(beside))
    return found


KEYBOARD = _neighbours()
"""The letters around each letter."""


def words(text: str) -> list[Span]:
    """Where the words of a text stand; a word is a run of letters, apostrophes inside it included."""
    return [found.span() for found in _WORD.finditer(text)]


def content_words(text: str) -> list[Span]:
    """The words that carry meaning: those of three letters or more that are not in ``FUNCTION_WORDS``."""
    spans = words(text)
    return [(start, end) for start, end in spans if end - start >= 3 and text[start:end].lower() not in FUNCTION_WORDS]


def leetspeak(word: str, rng: np.random.Generator) -> str:
    """Letters as digits and signs: ``1d10t``."""
    return "".join(_pick(_LEET[c.lower()], rng) if c.lower() in _LEET else c for c in word)


def spacing(word: str, rng: np.random.Generator) -> str:
    """A space after each letter: ``i d i o t``."""
    return " ".join(word)


def homoglyphs(word: str, rng: np.random.Generator) -> str:
    """Cyrillic letters that look like the Latin ones."""
    return "".join(_ALIKE.get(c, c) for c in word)


def misspelling(word: str, rng: np.random.Generator) -> str:
    """One slip after the first letter: two letters swapped, one missed for its neighbour, or one more."""
    places = [i for i in range(1, len(word)) if word[i].lower() in KEYBOARD]
    if not places:
        return word
    swappable = [i for i in places if i + 1 < len(word) and word[i + 1].isalpha() and word[i] != word[i + 1]]
    inner = [i for i in places if i + 1 < len(word)]
    kind = int(rng.integers(3))
    if kind == 0 and len(word) > 4 and swappable:
        i = swappable[int(rng.integers(len(swappable)))]
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = places[int(rng.integers(len(places)))]
    if kind == 1 and len(word) > 3 and inner:
        i = inner[int(rng.integers(len(inner)))]
        return word[:i] + _pick(KEYBOARD[word[i].lower()], rng) + word[i + 1 :]
    return word[:i] + _pick(KEYBOARD[word[i].lower()], rng) + word[i:]


def zero_width(word: str, rng: np.random.Generator) -> str:
    """Characters of no width inside the word; nobody sees them."""
    return _insert(word, rng, _UNSEEN, 2)


def punctuation(word: str, rng: np.random.Generator) -> str:
    """One mark inside the word, or one after each letter: ``id*iot``, ``i.d.i.o.t``."""
    if rng.integers(2):
        return _MARKS[int(rng.integers(len(_MARKS)))].join(word)
    return _insert(word, rng, _MARKS, 1)


def repetition(word: str, rng: np.random.Generator) -> str:
    """A letter drawn out, a vowel where there is one: ``idioooot``."""
    letters = [i for i, c in enumerate(word) if c.isalpha()]
    vowels = [i for i in letters if word[i].lower() in "aeiouy"]
    chosen = vowels or letters
    i = chosen[int(rng.integers(len(chosen)))]
    return word[:i] + word[i] * int(rng.integers(3, 6)) + word[i + 1 :]


def case_flips(word: str, rng: np.random.Generator) -> str:
    """Every other letter a capital: ``iDiOt``."""
    return "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(word))


FAMILIES: dict[str, Callable[[str, np.random.Generator], str]] = {
    "leetspeak": leetspeak,
    "spacing": spacing,
    "homoglyphs": homoglyphs,
    "misspelling": misspelling,
    "zero_width": zero_width,
    "punctuation": punctuation,
    "repetition": repetition,
    "case_flips": case_flips,
}
"""The families of disguise by name; each maps a word and a source of randomness to the disguised word."""


def disguise(
    texts: Sequence[str], family: str, seed: int, targets: Sequence[Sequence[Span]] | None = None
) -> list[str]:
    """Each text with some of its words disguised.

    Args:
        texts: n texts.
        family: one of ``FAMILIES``.
        seed: what a text becomes depends on the text, the family and this alone, not on its neighbours.
        targets: for each text the words to change; all :func:`content_words` where absent.

    Returns:
        n texts; one without a word to change comes back as it is.
    """
    change = FAMILIES[family]
    spans = [content_words(text) for text in texts] if targets is None else targets
    return [
        _replaced(text, chosen, change, generator(seed, "disguise", family, text))
        for text, chosen in zip(texts, spans, strict=True)
    ]


def _replaced(
    text: str, spans: Sequence[Span], change: Callable[[str, np.random.Generator], str], rng: np.random.Generator
) -> str:
    parts, done = [], 0
    for start, end in sorted(spans):
        parts += [text[done:start], change(text[start:end], rng)]
        done = end
    return "".join([*parts, text[done:]])


def _pick(options: str, rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _insert(word: str, rng: np.random.Generator, marks: Sequence[str], most: int) -> str:
    """Up to ``most`` marks between letters of the word."""
    if len(word) < 2:
        return word
    count = min(most, len(word) - 1)
    for place in sorted(rng.choice(np.arange(1, len(word)), size=count, replace=False).tolist(), reverse=True):
        word = word[:place] + marks[int(rng.integers(len(marks)))] + word[place:]
    return word
