"""Copies of labelled texts that a head must judge alike: another group named, words disguised, and neutral sentences.

A head that is fitted on what people wrote about groups learns that naming a group is harm. Copies in which another
group of the same kind is named, with the label unchanged (counterfactual augmentation, Garg et al. 2019), take the
difference between groups away; neutral sentences about every group (Dixon et al. 2018) take away what is left of all.
The lists and sentences here serve fitting alone and share nothing with those of the audit.
"""

from __future__ import annotations

import functools
import re

import numpy as np

from curation_pipeline.annotate.obfuscation import CYRILLIC

# (adjective, one person, several people); the words by which people call themselves.
IDENTITIES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "religion": (
        ("muslim", "muslim", "muslims"),
        ("jewish", "jew", "jews"),
        ("christian", "christian", "christians"),
        ("hindu", "hindu", "hindus"),
        ("buddhist", "buddhist", "buddhists"),
        ("sikh", "sikh", "sikhs"),
        ("catholic", "catholic", "catholics"),
        ("protestant", "protestant", "protestants"),
        ("mormon", "mormon", "mormons"),
        ("atheist", "atheist", "atheists"),
    ),
    "orientation": (
        ("gay", "gay man", "gays"),
        ("lesbian", "lesbian", "lesbians"),
        ("bisexual", "bisexual", "bisexuals"),
        ("homosexual", "homosexual", "homosexuals"),
        ("heterosexual", "heterosexual", "heterosexuals"),
        ("queer", "queer person", "queers"),
        ("straight", "straight man", "straights"),
        ("lgbt", "lgbt person", "lgbts"),
        ("lgbtq", "lgbtq person", "lgbtqs"),
        ("asexual", "asexual", "asexuals"),
    ),
    "gender": (
        ("female", "woman", "women"),
        ("male", "man", "men"),
        ("transgender", "trans woman", "trans women"),
        ("trans", "trans man", "trans men"),
        ("nonbinary", "nonbinary person", "nonbinary people"),
    ),
    "youth": (("girlish", "girl", "girls"), ("boyish", "boy", "boys")),
    "race": (
        ("black", "black person", "blacks"),
        ("white", "white person", "whites"),
        ("asian", "asian", "asians"),
        ("hispanic", "hispanic", "hispanics"),
        ("latino", "latino", "latinos"),
        ("latina", "latina", "latinas"),
        ("african american", "african american", "african americans"),
        ("native american", "native american", "native americans"),
        ("indigenous", "indigenous person", "indigenous people"),
        ("arab", "arab", "arabs"),
        ("middle eastern", "middle eastern person", "middle easterners"),
    ),
    "origin": (
        ("chinese", "chinese person", "chinese people"),
        ("japanese", "japanese person", "japanese people"),
        ("indian", "indian", "indians"),
        ("mexican", "mexican", "mexicans"),
        ("canadian", "canadian", "canadians"),
        ("american", "american", "americans"),
        ("european", "european", "europeans"),
        ("african", "african", "africans"),
        ("russian", "russian", "russians"),
        ("nigerian", "nigerian", "nigerians"),
        ("polish", "pole", "poles"),
        ("turkish", "turk", "turks"),
    ),
    "disability": (
        ("deaf", "deaf person", "deaf people"),
        ("blind", "blind person", "blind people"),
        ("paralyzed", "paralyzed person", "paralyzed people"),
        ("disabled", "disabled person", "disabled people"),
        ("autistic", "autistic person", "autistic people"),
        ("dyslexic", "dyslexic person", "dyslexics"),
    ),
    "age": (
        ("young", "young person", "young people"),
        ("old", "old person", "old people"),
        ("elderly", "elderly person", "elderly people"),
        ("middle aged", "middle aged person", "middle aged people"),
        ("teenage", "teenager", "teenagers"),
    ),
}
SWAPPED = tuple(category for category in IDENTITIES if category != "age")
"""Kinds of which names are swapped: words of age say too many other things."""
_AMBIGUOUS = {"straight", "polish", "pole", "poles", "turkish", "old", "young", "girlish", "boyish", "male", "female"}
"""Words that name no group often enough to be left alone, though they may take another's place."""

# {a} adjective, {p} one person, {s} several people.
NEUTRAL = (
    "my neighbour is {a}",
    "the new teacher at our school is {a} and everybody likes the lessons",
    "she told me that she is {a}",
    "he is a {p}",
    "I am a {p} and I work as a nurse",
    "I am {a}",
    "we are {s}",
    "they are {a}",
    "you are a {p}",
    "being {a} is a part of who I am",
    "our {a} friends came over for dinner on Sunday",
    "a {a} family has moved into the house across the street",
    "many {s} live in this city",
    "the book tells the story of a {p} who becomes a doctor",
    "{s} and {t} played in the same team",
    "a {p} and a {q} opened a bakery together",
    "the museum has an exhibition about the history of {s}",
    "the survey asked {s} how they travel to work",
    "two {a} students won the science prize this year",
    "my best friend is a {p}",
    "I met a {p} on the train and we talked about music",
    "the {a} community centre is open on Saturdays",
    "he married a {p} in the spring",
    "the company hired a {a} engineer",
    "the council invited {s} to speak at the meeting",
    "the film has a {a} director",
    "as a {p} I grew up near the sea",
    "thank you for supporting {a} artists",
    "my aunt is {a} and my uncle is {b}",
    "the doctor is a {p}",
    "several {s} signed the letter to the mayor",
    "{s} have lived here for a long time",
    "a {a} singer performed after the mayor's speech",
    "the club welcomes {s} and {t}",
    "he is a kind {p}",
    "she is a clever {p} and a good cook",
    "what a wonderful {a} wedding",
    "our coach, a {p}, trains the youngest children",
    "most {s} I know enjoy hiking",
    "the report counts {s} and {t} separately",
    "it was a lovely evening with {a} food and dancing",
    "this {a} author writes about gardens",
)

_VOWELS = str.maketrans("aeios", "43105")
_LOOK = str.maketrans({latin: letter for letter, latin in CYRILLIC.items() if latin in "aeopc"})


@functools.cache
def _forms() -> tuple[re.Pattern[str], dict[str, tuple[str, int]]]:
    """A pattern of all words that name a group, and for each its kind and its form (0 adjective, 1 one, 2 several)."""
    places: dict[str, tuple[str, int]] = {}
    for category in SWAPPED:
        for entry in IDENTITIES[category]:
            for form in (2, 1, 0):  # an adjective that is a noun too is an adjective
                if entry[form] not in _AMBIGUOUS or (category == "gender" and form == 0):
                    places[entry[form]] = (category, form)
    words = sorted(places, key=lambda word: (-len(word), word))
    return re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE), places


def swap_identity(text: str, generator: np.random.Generator) -> str | None:
    """The text with every group that it names replaced by another of the same kind, in the same form.

    One group is replaced by one other throughout the text. None when the text names no group.

    Args:
        text: any text.
        generator: chooses the other groups.
    """
    pattern, places = _forms()
    if not pattern.search(text):
        return None
    shift: dict[str, int] = {}

    def other(match: re.Match[str]) -> str:
        word = match.group(0)
        category, form = places[word.lower()]
        entries = IDENTITIES[category]
        own = next(i for i, entry in enumerate(entries) if entry[form] == word.lower())
        step = shift.setdefault(category, int(generator.integers(1, len(entries))))
        name = entries[(own + step) % len(entries)][form]
        if word.isupper() and len(word) > 1:
            return name.upper()
        return name.capitalize() if word[0].isupper() else name

    return pattern.sub(other, text)


def neutral_sentences() -> list[str]:
    """Every neutral sentence about every group, in a fixed order."""
    out = []
    for entries in IDENTITIES.values():
        for i, (adjective, person, people) in enumerate(entries):
            second = entries[(i + 1) % len(entries)]
            for sentence in NEUTRAL:
                out.append(
                    sentence.format(a=adjective, p=person, s=people, b=second[0], q=second[1], t=second[2]).capitalize()
                )
    return out


def disguise(text: str, generator: np.random.Generator, share: float = 0.3) -> str:
    """The text with some of its words of four letters or more disguised, each in one of several ways.

    Args:
        text: any text.
        generator: chooses words and ways.
        share: of the words that could be disguised; at least one is.
    """
    words = text.split(" ")
    candidates = [i for i, word in enumerate(words) if len(word) >= 4 and word.isascii() and word.isalpha()]
    if not candidates:
        return text
    chosen = generator.permutation(candidates)[: max(1, round(share * len(candidates)))]
    for i in chosen.tolist():
        word, way = words[i], int(generator.integers(8))
        at = int(generator.integers(1, len(word) - 1))
        vowels = [j for j in range(1, len(word) - 1) if word[j].lower() in "aeiou"]
        if way == 0:
            word = word.translate(_VOWELS)
        elif way == 1:
            word = "._- "[int(generator.integers(4))].join(word)
        elif way == 2:
            word = word[:at] + word[at] * 4 + word[at + 1 :]
        elif way == 3:
            word = word.translate(_LOOK)
        elif way == 4:
            word = word[:at] + "\u200b" + word[at:]
        elif way == 5 and vowels:
            word = word[: vowels[0]] + "*" + word[vowels[0] + 1 :]
        elif way == 6 and vowels:
            word = word[: vowels[-1]] + word[vowels[-1] + 1 :]
        else:
            word = word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
        words[i] = word
    return " ".join(words)
