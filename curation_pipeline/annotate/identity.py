"""Which group of people a text mentions, by a lexicon of neutral terms.

A filter that deletes text about a group harms that group's readers (Xu et al. 2021; Welbl et al. 2021), so every
decision is reported by group. The lexicon holds the terms by which people name themselves, never slurs: a text that
mentions a group is not thereby about it, for it or against it.
"""

from __future__ import annotations

import polars as pl

NONE = "none"

# Order matters: a text that mentions several groups counts for the first. Groups that text mentions seldom come first,
# because the common ones (gender above all) would otherwise hide them.
TERMS: dict[str, tuple[str, ...]] = {
    "orientation": (
        r"gays?",
        r"lesbians?",
        r"bisexuals?",
        r"homosexual(?:s|ity)?",
        r"heterosexual(?:s|ity)?",
        r"queer",
        r"lgbt\w*",
        r"same[- ]sex",
        r"asexual",
        r"pansexual",
    ),
    "religion": (
        r"muslims?",
        r"islam(?:ic)?",
        r"christian(?:s|ity)?",
        r"jew(?:s|ish)?",
        r"judaism",
        r"hindu(?:s|ism)?",
        r"buddhis(?:ts?|m)",
        r"sikhs?",
        r"sikhism",
        r"catholics?",
        r"catholicism",
        r"protestants?",
        r"mormons?",
        r"atheis(?:ts?|m)",
    ),
    "race": (
        r"african[- ]americans?",
        r"asian[- ]americans?",
        r"native[- ]americans?",
        r"(?:black|white|brown) (?:people|persons?|m[ae]n|wom[ae]n|guys?|girls?|boys?|kids?|folks?|families|community"
        r"|communities|american|americans|males?|females?|students?|culture|lives|dudes?)",
        r"blacks",
        r"asians?",
        r"hispanics?",
        r"latin[oax]s?",
        r"indigenous",
        r"aboriginals?",
        r"caucasians?",
        r"arabs?",
        r"people of colou?r",
    ),
    "disability": (
        r"disabled",
        r"disabilit(?:y|ies)",
        r"wheelchair",
        r"deaf",
        r"blind (?:people|persons?|m[ae]n|wom[ae]n)",
        r"autis(?:m|tic)",
        r"dyslexi[ac]",
    ),
    "gender": (
        r"wom[ae]n",
        r"females?",
        r"girls?",
        r"lad(?:y|ies)",
        r"m[ae]n",
        r"males?",
        r"boys?",
        r"transgender",
        r"trans (?:people|persons?|m[ae]n|wom[ae]n)",
        r"non[- ]?binary",
    ),
}

GROUPS: tuple[str, ...] = (NONE, *TERMS)
"""All values of ``identity_group``."""


def whole_words(alternatives: str) -> str:
    """A polars pattern of these English words whole, in any case; groups 1 and 2 are the characters around them.

    A letter of another script ends a word as a space does: Chinese, Thai or Korean may be directly next to it.
    """
    other = r"[^\p{Latin}\u0300-\u036F\p{Nd}_]"
    return rf"(?i)(^|{other})(?:{alternatives})($|{other})"


def identity_group(text: str | pl.Expr) -> pl.Expr:
    """The first group, in the order of ``TERMS``, that the text mentions, or "none".

    Args:
        text: name of the text column, or an expression.
    """
    column = pl.col(text) if isinstance(text, str) else text
    group = pl.lit(NONE)
    for name in reversed(tuple(TERMS)):
        group = pl.when(column.str.contains(whole_words("|".join(TERMS[name])))).then(pl.lit(name)).otherwise(group)
    return group.alias("identity_group")
