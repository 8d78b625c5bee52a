"""Disguised words read as what they stand for: what people do to a word so that a filter does not know it.

Undone are, in this order: invisible and stacked combining characters, letters of other alphabets that look Latin
(after the Unicode confusables, UTS 39) and styled Latin letters (form NFKC), letters set apart (``i d i o t``,
``i.d.i.o.t``), digits and signs in place of letters inside of words, and letters repeated three times or more. A masked
word (``st*pid``) stays masked, with ``*`` for whatever masked it, because what is hidden is not known.

Every rule is tuned to leave ordinary text alone: numbers, dates, measures, acronyms, addresses, code, words of another
alphabet. A pattern over all texts finds the few that need a closer look; only those are read word by word.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.annotate.pii_characters import WORD

CYRILLIC = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u04cf\u0501\u051b\u051d\u0432\u043a\u043c\u043d\u0442"
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423\u0406\u0408\u0405",
        "aeopcyxijshldqwbkmhtABEKMHOPCTXYIJS",
        strict=True,
    )
)
"""Cyrillic letters and the Latin ones that common fonts draw alike."""
_GREEK_LOOKALIKES = dict(
    zip(
        "\u03b1\u03bf\u03b9\u03bd\u03ba\u03c1\u03c5\u03c7\u03b5\u03c4"
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        "aoivkpuxetABEZHIKMNOPTYX",
        strict=True,
    )
)
# Latin and others that no decomposition leads to a plain letter: dotless, script and small capitals.
_SMALL = (
    "\u0131\u0251\u0261\u0269\u029f\u026a\u1d00\u0299\u1d04\u1d05\u1d07\u0493\u0262\u029c"
    "\u1d0a\u1d0b\u1d0d\u0274\u1d0f\u1d18\u0280\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22\ua731"
)
# White letters on black squares, in black circles, and regional indicators.
_LETTER_BLOCKS = (0x1F170, 0x1F150, 0x1F1E6)
_LOOKALIKES = {
    **CYRILLIC,
    **_GREEK_LOOKALIKES,
    **dict(zip(_SMALL, "iagiliabcdefghjkmnoprtuvwyzs", strict=True)),
    **{chr(first + i): chr(ord("A") + i) for first in _LETTER_BLOCKS for i in range(26)},
}
_STYLED = "\u1d2c-\u1d6a\u2070-\u209c\u24b6-\u24e9\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001f130-\U0001f149"
_BLOCKS = "\U0001f150-\U0001f169\U0001f170-\U0001f189\U0001f1e6-\U0001f1ff"
_CYRILLIC, _GREEK = "\u0400-\u052f", "\u0370-\u03ff\u1f00-\u1fff"
_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_MARKS = "\u0300-\u036f\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
_EAST_ASIAN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"

_LEET = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "l", "€": "e"}
_LEET_TABLE = str.maketrans(_LEET)
_SET_APART = rf"(?<![{WORD}.*'\u2019-])[A-Za-z](?:([ .\-_*~])[A-Za-z])(?:\1[A-Za-z]){{2,}}(?![{WORD}*-])"
_SEPARATOR = str.maketrans("", "", " .-_*~")

# What a text must hold for a rule to be worth trying; the first pattern is all of them together, for one pass.
_FOREIGN = f"[{_INVISIBLE}{_MARKS}{_STYLED}{_BLOCKS}{_SMALL}{_CYRILLIC}{_GREEK}]"
_APART = (
    r"[A-Za-z](?: [A-Za-z] [A-Za-z] |\.[A-Za-z]\.[A-Za-z]\.|-[A-Za-z]-[A-Za-z]-|[_*~][A-Za-z][_*~][A-Za-z][_*~])"
    r"[A-Za-z]"
)
_IN_WORD = r"[A-Za-z][013457@$!|€]{1,3}[A-Za-z]|\$[a-z]{3}|(?:^|\s)@ss"
_MASKED = r"[A-Za-z](?:\*+|#+|%)[A-Za-z]"
_REPEATED = "|".join(f"[{letter}{letter.upper()}]{{3}}" for letter in "abcdefghijklmnopqrstuvwxyz")
_SUSPECT = "|".join((_FOREIGN, _APART, _IN_WORD, _MASKED, _REPEATED))

_foreign = re.compile(_FOREIGN)
_apart = re.compile(_APART)
_in_word = re.compile(_IN_WORD)
_masked = re.compile(_MASKED)
_repeated = re.compile(r"([A-Za-z])\1\1", re.IGNORECASE)
_changeable = re.compile(r"[0-9@$!|€*#%]|([A-Za-z])\1\1", re.IGNORECASE)
"""What a word must hold that any rule for single words changes."""
_space = re.compile(r"\s")
_set_apart = re.compile(_SET_APART)
_invisible = re.compile(f"[{_INVISIBLE}]")
_marks = re.compile(f"[{_MARKS}]")
_styled = re.compile(f"[{_STYLED}{_BLOCKS}{_SMALL}]")
_other_alphabet = re.compile(f"[{_CYRILLIC}{_GREEK}]")
_mixed = re.compile(f"[A-Za-z{_CYRILLIC}{_GREEK}]*[{_CYRILLIC}{_GREEK}][A-Za-z{_CYRILLIC}{_GREEK}]*")
_cyrillic = re.compile(f"[{_CYRILLIC}]")
_joiner = re.compile(f"(?<=[A-Za-z])[{_INVISIBLE.removeprefix(chr(0xAD))}]+(?=[A-Za-z])")
_east_asian = re.compile(f"[{_EAST_ASIAN}]")
_latin = re.compile("[A-Za-z]")
_address = re.compile(
    r"://|^www\.|[\w.]@[\w-]+\.|\.(?:com|org|net|edu|gov|co|io|html?|php|jpg|png|pdf)\b|[\\/{}=<>\[\]]|&#"
)
_leet_core = re.compile(r"[A-Za-z0-9@$!|€*]*[A-Za-z][A-Za-z0-9@$!|€*]*")
_between = re.compile(r"[A-Za-z][013457@$!|€]{1,3}(?=[A-Za-z])")
_roman = re.compile(r"[ivxlcdm]+", re.IGNORECASE)
_one_letter = re.compile(r"(.)\1*", re.IGNORECASE)
_lengthened = re.compile(r"([A-Za-z])\1{2,}", re.IGNORECASE)
_vowel = re.compile("[aeiouy]", re.IGNORECASE)
_mask = re.compile(r"([A-Za-z]+)(\*+|#+|%)(?=([A-Za-z]+))")
_measure = re.compile(r"\d+(?:x\d+)+|[A-Z]+\d+s?", re.ASCII)
_word = re.compile(r"\S*[^\W\d_]\S*")


@dataclass(frozen=True, slots=True)
class Clear:
    """A text without its disguises.

    Attributes:
        text: what it stands for.
        disguised: words whose letters were hidden or replaced; lengthened ones (``sooo``) do not count, because they
            are emphasis, and common in some dialects.
    """

    text: str
    disguised: int


def deobfuscate(texts: pl.Series) -> pl.Series:
    """Texts with their disguises undone; texts without any are returned as they are.

    Args:
        texts: n strings; a null stays null.

    Returns:
        Utf8 of length n.
    """
    rows, cleared = _cleared(texts)
    if not rows.size:
        return texts.cast(pl.Utf8).alias("text")
    values = pl.Series([clear.text for clear in cleared], dtype=pl.Utf8)
    return texts.cast(pl.Utf8).alias("text").scatter(rows, values)


def obfuscation_share(texts: pl.Series) -> pl.Series:
    """Share of each text's words whose letters were disguised.

    Args:
        texts: n strings.

    Returns:
        Float32 of length n in [0, 1]; 0 for a text without words.
    """
    rows, cleared = _cleared(texts)
    share = np.zeros(len(texts), dtype=np.float32)
    for row, clear in zip(rows.tolist(), cleared, strict=True):
        if clear.disguised:
            share[row] = min(1.0, clear.disguised / max(len(_word.findall(clear.text)), 1))
    return pl.Series("obfuscation", share)


def _cleared(texts: pl.Series) -> tuple[np.ndarray, list[Clear]]:
    """Places of the texts that hold something suspicious, and those texts read closely."""
    suspect = texts.cast(pl.Utf8).str.contains(_SUSPECT).fill_null(False)
    rows = np.flatnonzero(suspect.to_numpy())
    # A loop over texts, of which a few in a hundred come here.
    return rows, [undisguise(text) for text in texts.gather(rows).to_list()]


def undisguise(text: str) -> Clear:
    """One text read closely; see ``deobfuscate`` for many."""
    disguised = 0
    if not text.isascii() and _foreign.search(text):
        text, disguised = _plain_letters(text)
    if _apart.search(text):
        joined = _set_apart.sub(_join, text)
        disguised += len(_set_apart.findall(text)) - len(_set_apart.findall(joined))
        text = joined
    in_word, masked = _in_word.search(text), _masked.search(text)
    if in_word or masked or _repeated.search(text):
        text, changed = _plain_words(text, in_word is not None, masked is not None)
        disguised += changed
    return Clear(text, int(disguised))


def _plain_words(text: str, in_word: bool, masked: bool) -> tuple[str, int]:
    """Signs for letters, masks and lengthened letters in the words that hold any; and how many were in disguise."""
    parts: list[str] = []
    disguised, done = 0, 0
    for match in _changeable.finditer(text):
        if match.start() < done:
            continue
        begin = match.start()
        while begin > done and not text[begin - 1].isspace():
            begin -= 1
        space = _space.search(text, match.end())
        end = space.start() if space else len(text)
        word = before = text[begin:end]
        parts.append(text[done:begin])
        done = end
        if not (len(word) < 3 or word[0] in "#&" or _address.search(word) or (word[0] == "@" and word[1:3] != "ss")):
            if in_word:
                word = _leet_core.sub(_letters_for_signs, word)
            disguised += word != before
            if masked and _masked.search(word):
                word = _mask.sub(_starred, word)
                disguised += "*" in word
            word = _lengthened.sub(r"\1", word) if _lengthenable(word) else word
        parts.append(word)
    return "".join([*parts, text[done:]]), disguised


def _starred(match: re.Match[str]) -> str:
    """A masked letter as one asterisk; a sign that joins two words, as in the address of a section, stays."""
    left, sign, right = match.groups()
    joins = sign[0] in "#%" and _vowel.search(left) and _vowel.search(right)
    return match.group(0) if joins else f"{left}*"


def _join(match: re.Match[str]) -> str:
    """Letters set apart become a word; acronyms, initials and the alphabet stay."""
    separator, letters = match.group(1), match.group(0).translate(_SEPARATOR)
    ordered = all(ord(b) - ord(a) == 1 for a, b in zip(letters.lower(), letters.lower()[1:], strict=False))
    if ordered or (separator in ".-" and letters.isupper()) or not _vowel.search(letters):
        return match.group(0)
    return letters


def _plain_letters(text: str) -> tuple[str, int]:
    """Invisible, stacked, styled and foreign letters of Latin words; and how many words held any."""
    east_asian = _east_asian.search(text) is not None
    foreign = _other_alphabet.findall(text)
    # One letter that no Latin letter looks like shows that the text does use that alphabet.
    genuine = any(letter not in _LOOKALIKES for letter in foreign) or not _latin.search(text)
    pieces = re.split(r"([^\S\ufeff]+)", text)
    disguised = 0
    for i in range(0, len(pieces), 2):
        word = before = pieces[i]
        if word.isascii():
            continue
        if _styled.search(word):
            word = "".join(
                _LOOKALIKES.get(c, unicodedata.normalize("NFKC", c)) if _styled.match(c) and not c.isdecimal() else c
                for c in word
            )
            word = word if len(_latin.findall(word)) > 2 else before
        counted = word != before and not east_asian
        if _other_alphabet.search(word):
            plain = _mixed.sub(lambda match: _latin_letters(match.group(0), genuine), word)
            counted |= plain != word
            word = plain
        if _latin.search(word):
            if _marks.search(word):
                composed = unicodedata.normalize("NFC", word)
                bare = _marks.sub("", composed)
                counted |= bare != composed
                word = bare
            counted |= _joiner.search(word) is not None
            word = _invisible.sub("", word)
        disguised += counted
        pieces[i] = word
    return "".join(pieces), disguised


def _latin_letters(run: str, genuine: bool) -> str:
    """A run of letters in Latin ones, if some are of another alphabet but each looks Latin.

    Args:
        run: letters.
        genuine: the text uses the other alphabet for itself; then a run wholly in it is a word of it.
    """
    own = _other_alphabet.findall(run)
    if any(letter not in _LOOKALIKES for letter in own):
        return run
    among_latin = len(own) < len(run) and len(run) > 2
    if among_latin or (len(own) == len(run) and not genuine and _cyrillic.search(run)):
        return "".join(_LOOKALIKES.get(c, c) if _other_alphabet.match(c) else c for c in run)
    return run


def _letters_for_signs(match: re.Match[str]) -> str:
    """A word in which digits or signs stand for letters; names of things that hold digits stay."""
    word = match.group(0)
    core = word.rstrip("!|")  # an exclamation mark after a word is one
    tail = word[len(core) :]
    if core.isalpha() or len(core) > 24:
        return word
    if core[:3].lower() == "@ss" and core[1:].isalpha():
        return "a" + core[1:] + tail
    if core[0] == "$" and core[1:].isalpha() and core[1:].islower() and len(core) > 3:
        return "s" + core[1:] + tail
    letters = [c for c in core if c.isalpha()]
    if any(c in "2689" for c in core) or not _between.search(core) or core[0] == "@":
        return word
    digits = [c for c in core if c.isdigit()]
    short = len(core) < 4 and "0" not in digits
    if digits and (short or (len(core) < 6 and "".join(letters).isupper())):
        return word  # h1b, w3c, C3PO, M4A1
    if re.search(r"\d{3}", core) or len(digits) > len(letters) + 1 or _measure.fullmatch(core):
        return word
    if len(core) - len(letters) == 1:
        # "wow!that", "name@place", "clips4sale": two words that a sign joins. One that stands for a vowel leaves at
        # least one side without any; short words are given the benefit of the doubt.
        sign = next(c for c in core if not c.isalpha())
        left, _, right = core.partition(sign)
        if sign in "!|@4" and _vowel.search(left) and _vowel.search(right) and (len(core) > 6 or core.isupper()):
            return word
    return core.translate(_LEET_TABLE) + tail


def _lengthenable(word: str) -> bool:
    """Whether repeated letters are emphasis: not in Roman numerals, codes or words of one letter (``www``)."""
    bare = word.strip(".,;:!?()*\"'\u201c\u201d")
    if "_" in bare or any(c.isdigit() for c in bare) or bare[:1] == "@":
        return False
    return not (_roman.fullmatch(bare) or _one_letter.fullmatch(bare) or bare.lower().startswith("www"))
