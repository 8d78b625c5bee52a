"""Words by which people are named as members of a group, and how to take the group out of a sentence.

A wider list than ``identity.TERMS``, which sorts texts into reported groups: here is every word that names a group of
people by origin, belief, body, age, gender or orientation, since a lexical detector may have learned any of
them. No slur is on it: what is said with a slur stays visible to the detector.
"""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate.identity import whole_words

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


def _patterns(words: str, compound: bool) -> str:
    # Compounds are written with a hyphen or a space; the longest alternative must be tried first.
    chosen = [word.replace("-", "[- ]") for word in words.split("|") if ("-" in word) is compound]
    return whole_words("|".join(sorted(chosen, key=len, reverse=True)))


# A compound must be replaced before its parts are.
_REPLACED = tuple(
    (_patterns(words, compound), name)
    for compound in (True, False)
    for words, name in ((_PLURAL_WORDS, "people"), (_SINGULAR_WORDS, "person"))
)


def without_groups(texts: pl.Series) -> pl.Series:
    """The texts with every group named replaced by "person" or "people": what is said remains, the groups do not.

    Args:
        texts: strings, length n.
    """
    for pattern, name in _REPLACED:
        # Twice, as the space between two names belongs to the first match.
        for _ in range(2):
            texts = texts.str.replace_all(pattern, f"${{1}}{name}${{2}}")
    return texts
