"""Indicators of register: how often a text uses what its situation of use calls for.

Biber (1988, "Variation across speech and writing") found that pronouns, contractions, questions and private verbs go
together in involved text, nominalisations, prepositions and long words in informational text (dimension 1), past tense,
third-person pronouns and verbs of speaking in narrative (2), modals in persuasion (4), passives and conjuncts in
abstract style (5). The shares here follow these in spirit: word lists and endings stand in for his tagger.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation_pipeline.annotate.words import Words

# fmt: off
_LISTS: dict[str, str] = {
    "first_person": "i me my mine myself we us our ours ourselves i'm i've i'll i'd we're we've we'll we'd im ive",
    "second_person": "you your yours yourself yourselves you're you've you'll you'd youre ur y'all yall u",
    "third_person": "he him his himself she her hers herself they them their theirs themselves he's she's they're "
                    "they've he'd she'd they'd he'll she'll they'll",
    "modal": "can could may might must shall should will would ought can't couldn't mustn't shouldn't won't wouldn't "
             "cannot",
    "private_verb": "think thinks thought know knows knew believe believes believed feel feels felt guess hope hopes "
                    "hoped wonder suppose assume remember understand want wanted wish seem seems",
    "speech_verb": "said says say told asked asks replied answered cried exclaimed whispered shouted added tells",
    "past": "was were had did went came took got made knew saw found left felt became began brought kept held wrote "
            "stood sat lay lost met ran paid sent built fell led grew gave thought told said spoke wasn't weren't "
            "hadn't didn't",
    "be": "is are was were be been being am isn't aren't wasn't weren't",
    "preposition": "of in to for with on at by from about into through over between against during without under "
                   "within among upon toward towards across behind beyond throughout per via",
    "determiner": "the a an this that these those",
    "conjunct": "however therefore thus moreover furthermore nevertheless consequently hence whereas accordingly "
                "similarly namely likewise conversely alternatively",
    "discourse": "lol lmao haha hahaha yeah yep nah yes ok okay wow oh hey hi well um uh please thanks btw omg imo "
                 "tbh idk wtf gonna wanna gotta kinda sorta dunno cuz cause literally basically actually",
}
# fmt: on
_ENDINGS: dict[str, str] = {
    "contraction": r"^\p{L}+n't$|^\p{L}+'(?:m|re|ve|ll|d)$|^(?:it|that|there|what|who|he|she|let|here|how|where)'s$"
    r"|^(?:dont|cant|wont|didnt|doesnt|isnt|im|ive|thats|youre|theyre)$",
    "nominal": r"^\p{L}{3,}(?:tion|ment|ness|ity)(?:s|ies)?$|^\p{L}{2,}ities$",
    "past": r"^\p{L}{2,}[^\WeE]ed$",
    "adverb": r"^\p{L}{3,}ly$",
    "number": r"^\p{N}",
}
# Counted in the raw text, per word; Rust regular expressions.
_MARKS: dict[str, str] = {
    "exclamation": "!",
    "quotation": r"[\"“”«»„]",
    "citation": r"\[[0-9]{1,3}(?:[,\u2013-] ?[0-9]{1,3})*\]|\((?:[^()]{0,60}, )?(?:19|20)[0-9]{2}[a-z]?\)"
    r"|et al\b|doi[:.]",
    "legal_reference": r"§|U\.S\.C|F\. ?Supp|F\.[23]d|S\. ?Ct|\b[vV]s?\. |\bNo\. |C\.F\.R",
    "url_markup": r"https?:|www\.|</?[A-Za-z]|&[a-z]{2,6};|\{|\}|\||\[\[|==|\br/",
    "capital": r"\b\p{Lu}",
}
_SENTENCE = r"[.!?…。\uFF01\uFF1F]+(?:[\s\"'”\u2019)\]]|$)"
_LONG = 200.0  # words; a text without a full stop counts as sentences of at most this length

INDICATORS: tuple[str, ...] = (
    *(f"{name}_share" for name in _LISTS if name != "be"),
    *(f"{name}_share" for name in _ENDINGS if name != "past"),
    "passive_share",
    *(f"{name}_share" for name in _MARKS),
    "question_share",
    "word_length",
    "sentence_length",
)
"""Columns of ``indicators``. ``<name>_share``: occurrences per word, in [0, 1]; ``question_share``: question marks per
sentence; ``passive_share``: forms of "be" followed by a word in -ed, per word; ``word_length``: mean characters a word;
``sentence_length``: mean words a sentence, at most 200."""


def indicators(texts: pl.Series, words: Words) -> pl.DataFrame:
    """Indicators of each text.

    Args:
        texts: n strings.
        words: their words (``words_of``).

    Returns:
        Float64 columns ``INDICATORS``, n rows; all 0 where a text holds no word.
    """
    flags = _flags(words.table)
    names = list(flags)
    lengths = words.table.str.len_chars().to_numpy().astype(np.float64)
    table = np.column_stack([*(flags[name] for name in names), lengths])
    sums = words.sums(table)
    count = words.counts.astype(np.float64)
    whole = np.maximum(count, 1.0)
    out = {f"{name}_share": sums[:, i] / whole for i, name in enumerate(names) if name != "be"}
    out["word_length"] = sums[:, -1] / whole
    out["passive_share"] = _followed(words, flags["be"], flags["past"]) / whole
    raw = texts.to_frame("text").select(
        *(pl.col("text").str.count_matches(pattern).alias(name) for name, pattern in _MARKS.items()),
        question=pl.col("text").str.count_matches(r"[?\uFF1F]"),
        sentences=pl.col("text").str.count_matches(_SENTENCE),
    )
    for name in _MARKS:
        out[f"{name}_share"] = np.minimum(raw[name].to_numpy() / whole, 1.0)
    sentences = np.maximum(raw["sentences"].to_numpy().astype(np.float64), 1.0)
    out["question_share"] = np.minimum(raw["question"].to_numpy() / sentences, 1.0)
    out["sentence_length"] = np.minimum(count / sentences, _LONG)
    empty = count == 0
    return pl.DataFrame({name: np.where(empty, 0.0, out[name]) for name in INDICATORS})


def _flags(table: pl.Series) -> dict[str, np.ndarray]:
    """Which of the lists and endings each distinct word is in: name -> float64 (u,)."""
    found = {name: table.is_in(entries.split()) for name, entries in _LISTS.items()}
    for name, pattern in _ENDINGS.items():
        ends = table.str.contains(pattern)
        found[name] = found[name] | ends if name in found else ends
    return {name: values.to_numpy().astype(np.float64) for name, values in found.items()}


def _followed(words: Words, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of neighbours in a document of which the left one is in ``first`` and the right one in ``second``."""
    if not len(words.codes):
        return np.zeros(len(words.counts))
    hit = np.zeros(len(words.codes))
    hit[:-1] = first[words.codes[:-1]] * second[words.codes[1:]]
    hit[words.offsets[1:][words.counts > 0] - 1] = 0.0
    total = np.concatenate([[0.0], np.cumsum(hit)])
    return np.asarray(total[words.offsets[1:]] - total[words.offsets[:-1]])
