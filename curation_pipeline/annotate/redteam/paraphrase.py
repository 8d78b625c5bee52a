"""Sentences rewritten towards African American English by rule: the same message in another variety.

The features are those that ``annotate/dialect.py`` names and the linguistic literature describes (Green 2002; the
transformations of Ziems et al. 2022, "VALUE", follow the same idea). A rule rewrites what it matches and nothing else,
so a paraphrase has the grammar of its source wherever no rule speaks.

A proxy, and no one's speech: real speakers vary in what they use, combine it by rules finer than these, and a text that
merely contains a feature tells nothing of its writer. Use the difference between a detector's scores on both versions
of many texts; do not show the paraphrases as examples of a dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_PRONOUN = r"(?P<who>\b(?:she|he|we|they|you))"
_BE = r"(?:'s|'re| is| are)"
_NOT_GERUND = r"(?!\w*thing\b|evening|morning|during|building|ceiling|wedding|being)"
_HABIT = {"plays": "playing", "play": "playing", "works": "working", "work": "working", "sings": "singing"}
_HABIT |= {"sing": "singing", "walks": "walking", "walk": "walking", "talks": "talking", "talk": "talking"}
_HABIT |= {"reads": "reading", "read": "reading", "cooks": "cooking", "cook": "cooking", "helps": "helping"}
_HABIT |= {"help": "helping", "says": "saying", "say": "saying", "watches": "watching", "watch": "watching"}
_HABIT |= {"tells": "telling", "tell": "telling", "goes": "going", "go": "going", "makes": "making", "make": "making"}
_CONCORD = {"anything": "nothing", "anybody": "nobody", "anyone": "nobody", "any": "no", "ever": "never"}
_NEGATIVE = r"(?:ain't|don't|doesn't|didn't|can't|won't|never)"


@dataclass(frozen=True, slots=True)
class DialectRule:
    """One feature: what it matches, in any case, and what it becomes."""

    name: str
    pattern: re.Pattern[str]
    becomes: str | Callable[[re.Match[str]], str]


def _rule(name: str, pattern: str, becomes: str | Callable[[re.Match[str]], str]) -> DialectRule:
    return DialectRule(name, re.compile(pattern, re.IGNORECASE), becomes)


def _habit(match: re.Match[str]) -> str:
    always = "always " if match["how"].lower() == "always" else ""
    return f"{match['who']} {always}be {_HABIT[match['verb'].lower()]}"


def _concord(match: re.Match[str]) -> str:
    return match["before"] + _CONCORD[match["any"].lower()]


def _in(match: re.Match[str]) -> str:
    return match["stem"] + ("IN'" if match["stem"].isupper() else "in'")


RULES: tuple[DialectRule, ...] = (
    # Tense and aspect first: they need the auxiliaries that later rules take away.
    _rule("remote been", r"(?P<who>\b\w+)(?: have|'ve| has) been (?=\w{2,}ing\b)", r"\g<who> been "),
    _rule(
        "completive done",
        r"(?P<who>\b\w+)(?: have|'ve| has) already (?=(?:\w+ed|told|seen|gone|made)\b)",
        r"\g<who> done ",
    ),
    _rule(
        "near future",
        r"\b(?P<who>I)(?:'m| am) going to (?=[a-z]+\b)(?!the|my|a\b|an\b|school|work|bed|church)",
        r"\g<who>'m finna ",
    ),
    _rule(
        "near future",
        rf"{_PRONOUN}{_BE} going to (?=[a-z]+\b)(?!the|my|his|her|our|their|your|a\b|an\b|school|work|bed|church|town)",
        r"\g<who> gon' ",
    ),
    _rule(
        "habitual be",
        r"(?P<who>\b(?:I|she|he|we|they|you|(?:my|your|his|her|our|their) \w+))(?: am| is| are|'m|'s|'re) "
        r"(?P<how>always |usually |often |constantly )(?=\w{2,}ing\b)",
        lambda match: f"{match['who']} {'always ' if match['how'].lower() == 'always ' else ''}be ",
    ),
    _rule(
        "habitual be",
        r"(?P<who>\b(?:I|she|he|we|they|you|(?:my|your|his|her|our|their) \w+)) (?P<how>always|usually|often) "
        rf"(?P<verb>{'|'.join(_HABIT)})\b",
        _habit,
    ),
    _rule("ain't", r"(?:\b(?:is|are|has|have)n't\b|(?<=\bI)(?:'m| am) not\b|\b(?:is|are|has|have) not\b)", "ain't"),
    _rule("ain't", r"(?:(?<=\w)'(?:s|re|ve) not\b)", " ain't"),
    _rule("ain't", r"(?<=\bI)ain't", " ain't"),
    _rule("leveled don't", r"\bdoesn't\b", "don't"),
    # Every "any" of the clause agrees; each pass turns the next one.
    *(
        [
            _rule(
                "negative concord",
                rf"(?P<before>\b{_NEGATIVE}\b[^.,;!?\"]{{0,60}}?\b)(?P<any>{'|'.join(_CONCORD)})\b",
                _concord,
            )
        ]
        * 2
    ),
    _rule(
        "copula absence",
        rf"{_PRONOUN}{_BE} (?=(?:(?:so|very|really|still|just|too|always|not) )?"
        r"(?:\w{2,}ing|happy|sad|tired|late|sick|ready|good|nice|right|wrong|home|here|there|at|in|on|from|with|my|so)\b)",
        r"\g<who> ",
    ),
    _rule(
        "copula absence",
        r"(?P<who>\b(?:my|your|his|her|our|their) (?!being)\w+) (?:is|are) (?=(?:still )?\w{3,}ing\b)",
        r"\g<who> ",
    ),
    _rule("contractions", r"\btrying to\b", "tryna"),
    _rule("contractions", r"\babout to\b", "boutta"),
    _rule("contractions", r"\bwant to\b", "wanna"),
    _rule("y'all", r"\b(?:you all|all of you|you guys)\b", "y'all"),
    _rule("-in for -ing", rf"\b{_NOT_GERUND}(?P<stem>\w*[aeiouy]\w*)ing\b", _in),
    _rule("-in for -ing", r"\b(?P<stem>(?:no|some)th)ing\b", _in),
)
"""The rules, in the order in which they apply."""


SPELLING = frozenset({"-in for -ing", "contractions"})
"""Features that only spell a word otherwise, as informal writing of any variety does."""


def grammatical(texts: Sequence[str]) -> dict[str, str]:
    """Texts and their paraphrases, of those texts whose grammar some rule changes and not their spelling alone."""
    made = ((text, *_rewritten(text)) for text in texts)
    return {text: new for text, new, features in made if features - SPELLING}


def _rewritten(text: str) -> tuple[str, frozenset[str]]:
    """The paraphrase, and the features it has gained."""
    new, features = text.replace("\u2019", "'"), set()
    for rule in RULES:
        new, count = rule.pattern.subn(rule.becomes, new)
        if count:
            features.add(rule.name)
    if not features:
        return text, frozenset()
    return new[:1].upper() + new[1:] if text[:1].isupper() else new, frozenset(features)
