"""Identity swaps: the same text about another group of the same category.

Garg et al. (2019, "Counterfactual fairness in text classification through robustness") ask that a score stay the same
when the group is another one. All names of one group in a text become those of the other, number and part of speech
kept. Pronouns stay as they are, and so does what is only true of one group: a swap measures a detector over many texts
and says nothing about one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from curation_pipeline.annotate.redteam.sentences import article
from curation_pipeline.seeds import derive


@dataclass(frozen=True, slots=True)
class Group:
    """One group's names, lower case; empty where the group has none of that form.

    Attributes:
        category: of ``identity.TERMS``.
        one: noun for one person; the empty string where only an adjective names them.
        many: noun for several.
        adjective: may stand before a noun or after a verb.
        creed: name of a religion.
        bare: whether the adjective alone tells the group; "black" does so only before people, not before "coffee".
    """

    category: str
    one: str = ""
    many: str = ""
    adjective: str = ""
    creed: str = ""
    bare: bool = True


def _same(category: str, word: str, creed: str = "") -> Group:
    """A group whose noun and adjective are one word."""
    return Group(category, word, f"{word}s", word, creed)


GROUPS: tuple[Group, ...] = (
    Group("orientation", "", "gays", "gay"),
    _same("orientation", "lesbian"),
    _same("orientation", "bisexual"),
    _same("orientation", "homosexual"),
    _same("orientation", "heterosexual"),
    Group("orientation", "", "", "queer"),
    _same("religion", "muslim", "islam"),
    _same("religion", "christian", "christianity"),
    Group("religion", "jew", "jews", "jewish", "judaism"),
    _same("religion", "hindu", "hinduism"),
    _same("religion", "buddhist", "buddhism"),
    _same("religion", "sikh", "sikhism"),
    _same("religion", "catholic", "catholicism"),
    _same("religion", "protestant", "protestantism"),
    _same("religion", "mormon", "mormonism"),
    _same("religion", "atheist", "atheism"),
    Group("race", "", "blacks", "black", bare=False),
    Group("race", "", "whites", "white", bare=False),
    Group("race", "", "", "brown", bare=False),
    _same("race", "african american"),
    _same("race", "asian american"),
    _same("race", "native american"),
    _same("race", "asian"),
    _same("race", "hispanic"),
    _same("race", "latino"),
    _same("race", "caucasian"),
    Group("race", "", "", "indigenous"),
    _same("race", "arab"),
    Group("disability", "", "", "disabled"),
    Group("disability", "", "", "deaf"),
    Group("disability", "", "", "blind", bare=False),
    Group("disability", "", "", "autistic"),
    Group("disability", "", "", "dyslexic"),
    Group("gender", "woman", "women"),
    Group("gender", "man", "men"),
    Group("gender", "girl", "girls"),
    Group("gender", "boy", "boys"),
    Group("gender", "lady", "ladies"),
    Group("gender", "gentleman", "gentlemen"),
    Group("gender", "", "females", "female"),
    Group("gender", "", "males", "male"),
    Group("gender", "", "", "transgender"),
    Group("gender", "", "", "cisgender"),
    Group("gender", "", "", "non-binary"),
)
"""The groups by the names of everyday speech; never slurs."""

_PROPER = frozenset({"religion", "race"})
"""Categories whose names are written with a capital, but for those in ``_COMMON``."""
_COMMON = frozenset({"atheist", "atheists", "atheism", "black", "blacks", "white", "whites", "brown"})

_FORMS = ("one", "many", "adjective", "creed")
_PEOPLE = (
    r"(?:people|persons?|folks?|m[ae]n|wom[ae]n|guys?|girls?|boys?|kids?|child(?:ren)?|families|family|communit(?:y|ies)"
    r"|americans?|males?|females?|students?|teens?|teenagers?|youths?|neighbou?rs?|friends?|dudes?|workers?|voters?)"
)


def _names() -> dict[str, dict[Group, frozenset[str]]]:
    """Every name, with the groups that it names and the forms that it may be there."""
    found: dict[str, dict[Group, set[str]]] = {}
    for group in GROUPS:
        for form in _FORMS:
            name = getattr(group, form)
            if name:
                found.setdefault(name, {}).setdefault(group, set()).add(form)
    return {name: {group: frozenset(forms) for group, forms in groups.items()} for name, groups in found.items()}


_NAMES = {name: next(iter(groups.items())) for name, groups in _names().items()}
_HEDGED = {group.adjective for group in GROUPS if not group.bare}


def _pattern() -> re.Pattern[str]:
    # Longest first, so that "african american" is one name; a hyphen may stand for the space.
    names = sorted(_NAMES, key=lambda name: (-len(name), name))
    parts = [
        re.escape(name).replace(r"\ ", "[ -]") + (rf"(?=[ -]{_PEOPLE}\b)" if name in _HEDGED else "") for name in names
    ]
    return re.compile(
        rf"(?:\b(?P<article>an?)(?P<gap>\s+))?(?<![\w-])(?P<name>{'|'.join(parts)})(?![\w])", re.IGNORECASE
    )


_PATTERN = _pattern()


def swap_identity(texts: Sequence[str], seed: int) -> pl.DataFrame:
    """Each text that names a group, with another group of the same category in its place.

    The first group named is swapped, wherever it is named. Its partner is one that the text does not name and that has
    every form needed: "Jewish" is an adjective and becomes one; "Muslim" may be noun or adjective and becomes a word
    that may be both. Capitals and the indefinite article follow.

    Args:
        texts: n texts.
        seed: chooses the other group, by the text.

    Returns:
        One row for each text that changed: ``index`` into ``texts``, category, source and target (names in lower case),
        and the new text.
    """
    rows = []
    for index, text in enumerate(texts):
        found = [_NAMES[_key(match["name"])] for match in _PATTERN.finditer(text)]
        if not found:
            continue
        source = found[0][0]
        named = {group for group, _ in found}
        needed = frozenset[str]().union(*(forms for group, forms in found if group == source))
        targets = [
            group
            for group in GROUPS
            if group.category == source.category and group not in named and all(getattr(group, f) for f in needed)
        ]
        if targets:
            target = targets[derive(seed, "swap", text) % len(targets)]
            changed = _PATTERN.sub(lambda match, a=source, b=target: _named(match, a, b), text)  # type: ignore[misc]
            rows.append((index, source.category, _title(source), _title(target), changed))
    schema = {"index": pl.Int64, "category": pl.Utf8, "source": pl.Utf8, "target": pl.Utf8, "text": pl.Utf8}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _key(name: str) -> str:
    return re.sub("[ -]", " ", name.lower()) if name.lower() not in _NAMES else name.lower()


def _title(group: Group) -> str:
    return group.adjective or group.one


def _named(match: re.Match[str], source: Group, target: Group) -> str:
    name = match["name"]
    group, forms = _NAMES[_key(name)]
    if group != source:
        return match[0]
    # A name of several forms (noun and adjective) has a partner with all of them; any of them then serves.
    form = "adjective" if "adjective" in forms else next(form for form in _FORMS if form in forms)
    new = _capitals(str(getattr(target, form)), target, match)
    given = match["article"]
    if given is None:
        return new
    changed = article(new)
    return (changed.capitalize() if given[0].isupper() else changed) + match["gap"] + new


def _capitals(new: str, group: Group, match: re.Match[str]) -> str:
    """A name as the text around it would write it."""
    name, text = match["name"], match.string
    if name.isupper():
        return new.upper()
    starts = re.search(r"(?:^|[.!?]\s)[\W_]*$", text[: match.start()]) is not None and match["article"] is None
    if group.category in _PROPER and new not in _COMMON and not text.islower():
        return " ".join(word[0].upper() + word[1:] for word in new.split(" "))
    return new[0].upper() + new[1:] if starts and name[0].isupper() else new
