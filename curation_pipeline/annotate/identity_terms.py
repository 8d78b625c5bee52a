"""Words by which people are named as members of a group, and how to take the group out of a sentence.

A wider list than ``identity.TERMS``, which sorts texts into reported groups: here is every word that names a group of
people by origin, belief, body, age, gender or orientation, since a lexical detector may have learned any of
them. No slur is on it: what is said with a slur stays visible to the detector.
"""

from __future__ import annotations

import functools

import polars as pl

from curation_pipeline.annotate.replacement import Replacement, replacement

_SINGULAR_WORDS = (
    "gay|lesbian|bisexual|homosexual|heterosexual|straight|queer|lgbt|lgbtq|lgbtqia|trans|transgender|"
    "transsexual|nonbinary|non-binary|cisgender|asexual|pansexual|male|female|man|woman|boy|girl|lady|muslim|"
    "islamic|christian|jewish|jew|hindu|buddhist|sikh|catholic|protestant|evangelical|mormon|atheist|taoist|"
    "black|white|brown|asian|african|arab|arabic|arabian|hispanic|latino|latina|latinx|latin|mexican|canadian|"
    "american|european|indian|chinese|japanese|korean|filipino|vietnamese|pakistani|nigerian|somali|turkish|"
    "persian|iranian|russian|polish|irish|italian|german|french|spanish|british|english|indigenous|aboriginal|"
    "caucasian|native-american|african-american|asian-american|mexican-american|immigrant|migrant|refugee|"
    "foreigner|blind|deaf|disabled|paralyzed|paraplegic|autistic|dyslexic|elderly|old|older|young|younger|"
    "teenage|teenaged|middle-aged|millennial|millenial"
)
_PLURAL_WORDS = (
    "gays|lesbians|bisexuals|homosexuals|heterosexuals|queers|muslims|christians|jews|hindus|buddhists|sikhs|"
    "catholics|protestants|evangelicals|mormons|atheists|taoists|blacks|whites|asians|africans|arabs|hispanics|"
    "latinos|latinas|mexicans|canadians|americans|europeans|indians|filipinos|pakistanis|nigerians|somalis|"
    "turks|persians|iranians|russians|poles|italians|germans|caucasians|african-americans|asian-americans|"
    "mexican-americans|native-americans|immigrants|migrants|refugees|foreigners|men|women|males|females|boys|"
    "girls|ladies|teenagers|millennials|millenials"
)


@functools.cache
def _replacement() -> Replacement:
    named = {
        word: name
        for words, name in ((_PLURAL_WORDS, "people"), (_SINGULAR_WORDS, "person"))
        for word in words.split("|")
    }
    return replacement(named)


def without_groups(texts: pl.Series) -> pl.Series:
    """The texts with every group named replaced by "person" or "people": what is said remains, the groups do not.

    Args:
        texts: strings, length n.
    """
    return _replacement().apply(texts)
