"""Proxies for dialect: does a text use spellings and constructions that are well known of a variety of English?

Blodgett, Green and O'Connor (2016, arXiv:1608.08868) found African American English (AAE) on Twitter through the places
that tweets came from, and showed that language tools serve it worse; Sap et al. (2019) and Davidson et al. (2019) found
toxicity classifiers calling it abusive. Their model needs data that is not here, so this is a list of markers that the
linguistic literature describes (Green 2002, "African American English: A Linguistic Introduction"; Jones 2015 on
spelling). No marker is a slur or profane, lest the proxy measure profanity.

Its limits: a proxy for how a text is written, never for who wrote it. Most AAE uses none of these markers, so recall is
low; several are shared with Southern English and with young people's writing online, so precision is not full; words on
the list change within years. Use it for rates over thousands of texts, never to decide about one or as a filter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.annotate.annotator_settings import DialectSettings
from curation_pipeline.annotate.characters import classes_of, matched_by
from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.wordhash import strings, utf8

VERSION = 2
"""Raised by hand when the numbers change."""


@dataclass(frozen=True, slots=True)
class Marker:
    """One feature of a variety.

    Attributes:
        name: of the feature.
        weight: 1 where it hardly occurs outside of the variety, less where other varieties share it.
        pattern: matches in lower-cased text with straight apostrophes; Rust regular expression.
        minus: matches of this are taken off: the same words in another construction.
    """

    name: str
    weight: float
    pattern: str
    minus: str | None = None


_SUBJECT = r"(?:i|he|she|it|we|they|you|y'all|yall|people|folks)"
_GERUND = r"\w{2,}in(?:g|'|\b)"
_AUX = (
    r"(?:to|will|would|can|could|should|shall|may|might|must|do|does|did|let|don't|didn't|doesn't|won't|wouldn't|can't|"
    r"couldn't|shouldn't|make|makes|made|help|if|that|lest|whether|recommend|suggest|insist|demand)"
)
_BE = r"(?:is|are|was|were|am|be|been|isn't|aren't|wasn't|weren't|ain't|how're|why're|what're|where're)"

_PROGRESSIVE = (
    r"(?:not |always |still |just |really |so )?(?:gonna|gon|tryna|finna|doing|going|trying|talking|looking|acting|"
    r"saying|making|getting|coming|running|working|lying|crying|calling|sitting|telling)\b"
)
_PAST = r"(?:\w{2,}ed|told|went|got|lost|seen|said|made|ran|took|left|came|gave|put)\b"
_NONE = r"(?:no|nothing|nothin'?|nobody|never|got no)\b"

AAE: tuple[Marker, ...] = (
    # "she be working": habitual. Not a question ("would she be working") nor a subjunctive ("that she be working").
    Marker(
        "habitual be",
        1.0,
        rf"\b{_SUBJECT} (?:always |still |just |really )?be {_GERUND}",
        rf"\b{_AUX} (?:not )?{_SUBJECT} (?:always |still |just |really )?be {_GERUND}",
    ),
    Marker("quotative be like", 0.5, rf"\b{_SUBJECT} be like\b", rf"\b{_AUX} {_SUBJECT} be like\b"),
    # "he done told you": completive.
    Marker("completive done", 1.0, rf"\b(?:i|he|she|we|they|you|it) (?:already )?done {_PAST}"),
    # "he been knew": remote past, with no auxiliary.
    Marker(
        "remote been",
        0.5,
        r"\b(?:i|he|she|we|they) been (?:\w{2,}ed|knew|had|told|said|doing|saying|gone)\b",
        r"\b(?:have|has|had|having|haven't|hasn't|hadn't) (?:i|he|she|we|they) been \w+",
    ),
    # "they going": no copula. Not after a form of be ("are they going").
    Marker(
        "copula absence", 0.5, rf"\b(?:he|she|they|we) {_PROGRESSIVE}", rf"\b{_BE} (?:he|she|they|we) {_PROGRESSIVE}"
    ),
    Marker(
        "near future",
        1.0,
        r"\b(?:finna|fittin to|fixina|tryna|boutta|gon'? (?:be|get|have|do|make|go)|i'm?ma|imma)\b",
    ),
    Marker(
        "negative concord",
        1.0,
        rf"\b(?:iont\b|ion (?:know|like|care|want|think|even|got|need|wanna)\b|ain'?t {_NONE}"
        r"|(?:don't|can't|didn't|won't) (?:nobody|nothing|none) (?:know|want|like|do|care|be|get|got)\b)",
    ),
    Marker("ain't", 0.25, r"\bain'?t\b"),
    Marker("y'all", 0.25, r"\b(?:y'all|yall)\b"),
    Marker(
        "-in for -ing",
        0.25,
        r"\b(?:nothin|somethin|talkin|doin|goin|tryin|lookin|sayin|gettin|makin|comin|workin|thinkin|feelin|livin|"
        r"playin|actin|runnin|waitin|bein|havin)\b",
    ),
    Marker(
        "stops for th",
        0.25,
        r"\b(?:dat|dem|dey|dese|dis (?:is|one|gon|why|what)|wit (?:my|me|the|da|a|his|her|it|you|that)|nuffin|mouf|wif|"
        r"brudda)\b",
    ),
    Marker("spellings", 1.0, r"\b(?:talmbout|sumn|sum'n|errbody|errybody|err'?thing|erbody|whatchu|gimme dat)\b"),
    Marker("aight", 0.5, r"\ba?ight\b"),
)
"""African American English."""

# Controls: another standard, and a style, that differ from edited American English without the same history.
COMMONWEALTH: tuple[Marker, ...] = (
    Marker("-our", 1.0, r"\b(?:colour|favour|honour|behaviour|neighbour|labour|flavour|humour|rumour|harbour)\w*"),
    Marker(
        "-ise",
        1.0,
        r"\b(?:real|organ|recogn|apolog|critic|emphas|general|special|util|minim|maxim|summar)"
        r"is(?:e[sd]?|ing|ation)\b",
    ),
    Marker(
        "-re, -ogue, -ence",
        1.0,
        r"\b(?:centre|theatre|metre|litre|fibre|catalogue|dialogue|defence|offence|licence|grey|tyre|cheque|programme|"
        r"whilst|maths|mum)s?\b",
    ),
    Marker("doubled l", 1.0, r"\b(?:travell|cancell|modell|labell|counsell|fuell|signall)(?:ed|ing|ers?)\b"),
)
INFORMAL: tuple[Marker, ...] = (
    Marker(
        "short spellings",
        1.0,
        r"(?:^| )u(?:[ ?!,]|$)|\b(?:ur|plz|pls|thx|cuz|coz|tho|idk|tbh|smh|ngl|wanna|gotta|kinda|dunno)\b",
    ),
    Marker("laughter", 1.0, r"\b(?:lol+|lmf?ao+|rofl|(?:ha){2,}h?|(?:he){2,}h?)\b"),
)

_SPACE = r"[\s\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"

VARIETIES: dict[str, tuple[Marker, ...]] = {"aae": AAE, "commonwealth": COMMONWEALTH, "informal": INFORMAL}


def dialect(texts: pl.Series, settings: DialectSettings | None = None) -> pl.DataFrame:
    """Marker scores of each text.

    Args:
        texts: n strings.
        settings: how many markers, in all and per word, make a text count.

    Returns:
        n rows; for each of ``VARIETIES`` a Float32 ``<name>_score``, the weight of its markers, and a Boolean
        ``dialect_<name>``, whether that is at least ``min_weight``, and ``min_rate`` times the number of words.
    """
    settings = settings or DialectSettings()
    spaced = _spaced(texts.str.to_lowercase().str.replace_all("[\u2018\u2019]", "'"))
    scored = texts.str.count_matches(r"\S+").alias("words").to_frame()
    for name, markers in VARIETIES.items():
        scored = scored.with_columns(pl.Series(f"{name}_score", _weight(spaced, markers), dtype=pl.Float32))
    return scored.select(
        *(f"{name}_score" for name in VARIETIES),
        *(
            (
                (pl.col(f"{name}_score") >= settings.min_weight)
                & (pl.col(f"{name}_score") >= settings.min_rate * pl.col("words"))
            ).alias(f"dialect_{name}")
            for name in VARIETIES
        ),
    )


@functools.cache
def _spaces() -> np.ndarray:
    return matched_by(_SPACE).astype(np.uint8)


def _spaced(texts: pl.Series) -> pl.Series:
    """Texts with soft and hard breaks as one space, so that a construction may run over a line's end.

    So are letters of scripts that may be next to English words without one.
    """
    raw, ends = utf8(texts)
    raw, ends = raw[ends[0] : ends[-1]], ends - ends[0]
    out, offsets = np.empty_like(raw), np.zeros_like(ends)
    _squeeze(raw, classes_of(raw, _spaces()), ends, out, offsets)
    return strings(out[: offsets[-1]], offsets)


@compiled
def _squeeze(raw: np.ndarray, spaces: np.ndarray, ends: np.ndarray, out: np.ndarray, offsets: np.ndarray) -> None:
    """Write each run of bytes that count as spaces as one blank."""
    n = 0
    for row in range(ends.size - 1):
        before = np.uint8(0)
        for at in range(ends[row], ends[row + 1]):
            if not spaces[at] or not before:
                out[n] = 32 if spaces[at] else raw[at]
                n += 1
            before = spaces[at]
        offsets[row + 1] = n


def _weight(texts: pl.Series, markers: tuple[Marker, ...]) -> np.ndarray:
    """Weights of the markers, summed over their occurrences; float64 (n,)."""
    total = np.zeros(len(texts))
    for marker in markers:
        count = texts.str.count_matches(marker.pattern).to_numpy().astype(np.int64)
        if marker.minus is not None and (rows := np.flatnonzero(count)).size:
            # Where greedy matches overlap, one may hide another: never below zero.
            others = texts.gather(rows).str.count_matches(marker.minus).to_numpy()
            count[rows] = np.maximum(count[rows] - others, 0)
        total += marker.weight * count
    return total
