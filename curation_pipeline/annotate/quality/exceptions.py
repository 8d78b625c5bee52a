"""English chunks that are not split by the rule of affixes: contractions, abbreviations, times and emoticons.

What counts as one word decides the word and n-gram rules near their thresholds. The forms are those that spaCy's
English tokeniser knows (its word list is the fact used here), because the published filters count words with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

_SUBJECTS = ("i", "you", "he", "she", "it", "we", "they")
_QUESTIONS = ("who", "what", "when", "where", "why", "how", "there", "that", "this", "these", "those")
_MODALS = "ca could do does did had may might must need ought sha should wo would"
_OTHER_NEGATED = "ai are is was were have has dare"
_CLIPPED = "doin goin havin lovin nothin nuthin ol somethin"
_NOT_CONTRACTIONS = "Ill ill Its its Hell hell Shell shell Shed shed were Were Well well Whore whore"
"""Words of their own that look like a contraction without its apostrophe."""

_SPLIT = (
    "y'|all y|all how|'d|'y How|'d|'y can|not Can|not gon|na Gon|na got|ta Got|ta let|'s Let|'s c'm|on C'm|on "
    "not|'ve not|ve Not|'ve Not|ve"
)
_WHOLE = (
    "'d 'em 'll 'nuff 're 's 'S 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout em ll nuff ma'am Ma'am o'clock "
    "O'clock and/or w/o a.m. p.m. "
    "Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. co. Co. Colo. Conn. Corp. D.C. Dec. Del. Dr. e.g. E.g. E.G. "
    "Feb. Fla. Ga. Gen. Gov. i.e. I.e. I.E. Ia. Id. Ill. Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. "
    "Mass. Md. Messrs. Mich. Minn. Miss. Mo. Mont. Mr. Mrs. Ms. Mt. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. "
    "Oct. Okla. Ore. Pa. Ph.D. Prof. Rep. Rev. S.C. Sen. Sep. Sept. St. Tenn. v.s. Va. vs. Wash. Wis. "
    "C++ <space> \\n \\t ' '' \\\") — \u2018s \u2018S "
    "(*_*) (-8 (-: (-; (-_-) (._.) (: (; (= (>_<) (^_^) (o: (¬_¬) (ಠ_ಠ) (╯°□°）╯︵┻━┻ )-: ): -_- -__- ._. "  # noqa: RUF001
    "0.0 0.o 0_0 0_o 8) 8-) 8-D 8D :'( :') :'-( :'-) :( :(( :((( :() :) :)) :))) :* :-( :-(( :-((( :-) :-)) :-))) :-* "
    ":-/ :-0 :-3 :-> :-D :-O :-P :-X :-] :-o :-p :-x :-| :-} :/ :0 :1 :3 :> :D :O :P :X :] :o :o) :p :x :| :} ;) ;-) "
    ";-D ;D ;_; <.< </3 <3 <33 <333 =( =) =/ =3 =D =[ =] =| >.< >.> >:( >:o ><(((*> @_@ O.O O.o O_O O_o V.V V_V XD XDD "
    "[-: [: [= ]= ^_^ ^__^ ^___^ o.0 o.O o.o o_0 o_O o_o v.v v_v xD xDD ¯\\(ツ)/¯ ಠ_ಠ ಠ︵ಠ"
)


def _both_cases(words: tuple[str, ...] | list[str]) -> Iterator[str]:
    for word in words:
        yield word
        yield word.title()


def _with_and_without(stem: str, *endings: str) -> Iterator[tuple[str, ...]]:
    """A contraction with its apostrophes, and written without them (`don't`, `dont`)."""
    yield (stem, *endings)
    yield (stem, *(ending.replace("'", "") for ending in endings))


def _contractions() -> Iterator[tuple[str, ...]]:
    for word in _both_cases(_SUBJECTS):
        endings = [("'ll",), ("'ll", "'ve"), ("'d",), ("'d", "'ve")]
        lower = word.lower()
        endings += [("'m",)] if lower == "i" else []
        endings += [("'ve",)] if lower in ("i", "you", "we", "they") else []
        endings += [("'re",)] if lower in ("you", "we", "they") else []
        endings += [("'s",)] if lower in ("he", "she", "it") else []
        for ending in endings:
            yield from _with_and_without(word, *ending)
        if lower == "i":
            yield from ((word, "'m", "a"), (word, "m", "a"))
    for word in _both_cases(_QUESTIONS):
        endings = [("'ll",), ("'ll", "'ve"), ("'d",), ("'d", "'ve")]
        endings += [("'s",)] if word.lower() not in ("these", "those") else []
        endings += [("'re",), ("'ve",)] if word.lower() not in ("that", "this") else []
        for ending in endings:
            yield from _with_and_without(word, *ending)
    for word in _both_cases(_MODALS.split()):
        yield from _with_and_without(word, "n't")
        yield from _with_and_without(word, "n't", "'ve")
    for word in _both_cases(["could", "might", "must", "should", "would"]):
        yield from _with_and_without(word, "'ve")
    for word in _both_cases(_OTHER_NEGATED.split()):
        yield from _with_and_without(word, "n't")


@lru_cache(maxsize=1)
def exceptions() -> dict[str, tuple[str, ...]]:
    """Each chunk that is known as a whole, with the tokens that it is made of (their concatenation is the chunk)."""
    found: dict[str, tuple[str, ...]] = {}
    for pieces in _contractions():
        found["".join(pieces)] = pieces
    for word in _both_cases(_CLIPPED.split()):
        found[word] = (word,)
        found[word + "'"] = (word + "'",)
    for hour in range(1, 13):
        for half in ("a.m.", "am", "p.m.", "pm"):
            found[f"{hour}{half}"] = (str(hour), half)
    for item in _SPLIT.split():
        pieces = tuple(item.split("|"))
        found["".join(pieces)] = pieces
    for whole in [*_WHOLE.split(), *(letter + "." for letter in "abcdefghijklmnopqrstuvwxyzäöü")]:
        found[whole] = (whole,)
    for degree in "cfkCFK":
        found[f"°{degree}."] = ("°", degree, ".")
    for word in _NOT_CONTRACTIONS.split():
        found.pop(word, None)
    curly = {
        key.replace("'", "’"): tuple(piece.replace("'", "’") for piece in pieces)  # noqa: RUF001
        for key, pieces in found.items()
        if "'" in key
    }
    return found | curly
