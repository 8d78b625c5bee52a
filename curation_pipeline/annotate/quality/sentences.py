"""The line filter of C4 (Raffel et al., arXiv:1910.10683, section 2.2) over many texts."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from curation_pipeline.annotate.compiled import compiled
from curation_pipeline.annotate.quality import characters as ch
from curation_pipeline.annotate.quality.splitting import AFTER_GAP, PUNCTUATION_ONLY, SENTENCE_MARK, Codes, Offsets
from curation_pipeline.annotate.quality.tokens import Tokens, tokenise

C4_COLUMNS = (
    "lines",
    "long_word_lines",
    "unended_lines",
    "few_word_lines",
    "lorem_ipsum_lines",
    "javascript_lines",
    "curly_bracket_lines",
    "policy_lines",
    "sentences",
)
"""Columns of ``c4_counts``, all counts. A line that an earlier rule removed is not looked at by a later one; the order
is that of the columns. Lines with lorem ipsum or a curly bracket condemn the document: they are counted and stay."""

JAVASCRIPT, LOREM_IPSUM = "javascript", "lorem ipsum"
POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
CITATIONS = ("[edit]", "[citation needed]")
"""Marks of Wikipedia that are cut out before a line is judged, besides a number (or none) in square brackets."""


def c4_counts(
    codes: Codes, offsets: Offsets, tokens: Tokens, max_word_length: int, min_words: int, terminal_marks: str
) -> npt.NDArray[np.int64]:
    """Counts of ``C4_COLUMNS`` for each text, shape (n_texts, n_columns).

    Args:
        codes: code points of all texts.
        offsets: where each text begins.
        tokens: of the same texts.
        max_word_length: characters of the longest word that a line may have.
        min_words: words that a line must have.
        terminal_marks: characters one of which must end a line (three full stops never do).
    """
    counts = np.zeros((len(offsets) - 1, len(C4_COLUMNS)), dtype=np.int64)
    cleaned = np.empty(len(codes) + 1, dtype=np.uint32)
    # Lines that had a citation, their text and the text they belong to: their words are not those of the document.
    cited = np.zeros(len(codes) // 2 + 2, dtype=np.int64)
    cited_text = np.empty(len(codes) // 2 + 2, dtype=np.int64)
    phrases, phrase_offsets = _phrases()
    n_cited = _c4_counts(
        codes,
        offsets,
        tokens.starts,
        tokens.flags,
        tokens.offsets,
        ch.class_table(),
        _lower_table(),
        phrases,
        phrase_offsets,
        np.array([ord(mark) for mark in terminal_marks], dtype=np.uint32),
        max_word_length,
        min_words,
        cleaned,
        cited,
        cited_text,
        counts,
    )
    if n_cited:
        lines = tokenise(cleaned[: cited[n_cited]], cited[: n_cited + 1])
        _add_sentences(lines.flags, lines.offsets, cited_text, n_cited, counts)
    return counts


@lru_cache(maxsize=1)
def _lower_table() -> Codes:
    """The small letter of each code point, itself where that is not one character."""
    table = np.arange(0x110000, dtype=np.uint32)
    for code in range(ch.HIGHEST):
        small = chr(code).lower()
        if len(small) == 1:
            table[code] = ord(small)
    return table


@lru_cache(maxsize=1)
def _phrases() -> tuple[Codes, Offsets]:
    """Code points of lorem ipsum, JavaScript, the phrases of policies and the marks of citations; where each begins."""
    texts = (LOREM_IPSUM, JAVASCRIPT, *POLICY, *CITATIONS)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return np.array([ord(character) for character in "".join(texts)], dtype=np.uint32), offsets


_FIRST_POLICY = 2
_FIRST_CITATION = _FIRST_POLICY + len(POLICY)


@compiled
def _is_here(line: Codes, at: int, end: int, lower: Codes, phrases: Codes, first: int, last: int) -> bool:
    """Whether a phrase is at ``at`` of a line, whatever the case of its letters."""
    if last - first > end - at:
        return False
    for i in range(last - first):  # noqa: SIM110 - all() of a generator does not compile
        if lower[line[at + i]] != phrases[first + i]:
            return False
    return True


@compiled
def _sentences(flags: npt.NDArray[np.uint8], first: int, last: int) -> int:
    """Sentences in a run of tokens: one more after each token behind an end mark that is no punctuation."""
    n, ended = 1, False
    for i in range(first, last):
        # White space that is a token of its own begins a sentence; the token behind it then does not.
        if ended and i > first and flags[i] & AFTER_GAP:
            n += 1
            ended = False
        if flags[i] & SENTENCE_MARK:
            ended = True
        elif ended and not flags[i] & PUNCTUATION_ONLY:
            n += 1
            ended = False
    return n


@compiled
def _add_sentences(
    flags: npt.NDArray[np.uint8], offsets: Offsets, texts: Offsets, n: int, counts: npt.NDArray[np.int64]
) -> None:
    for i in range(n):
        counts[texts[i], 8] += _sentences(flags, offsets[i], offsets[i + 1])


@compiled
def _without_citations(
    codes: Codes, start: int, end: int, phrases: Codes, phrase_offsets: Offsets, cleaned: Codes, n: int
) -> int:
    """Copy a line without its citations to ``cleaned``; the end of the copy."""
    at = start
    while at < end:
        if codes[at] == 91:
            stop = at + 1
            while stop < end and 48 <= codes[stop] <= 57:
                stop += 1
            skip = stop + 1 - at if stop < end and codes[stop] == 93 else 0
            for phrase in range(_FIRST_CITATION, len(phrase_offsets) - 1):
                first, size = phrase_offsets[phrase], phrase_offsets[phrase + 1] - phrase_offsets[phrase]
                if not skip and at + size <= end:
                    same = True
                    for i in range(size):
                        same = same and codes[at + i] == phrases[first + i]
                    skip = size if same else 0
            if skip:
                at += skip
                continue
        cleaned[n] = codes[at]
        n += 1
        at += 1
    return n


@compiled
def _c4_counts(
    codes: Codes, offsets: Offsets, token_starts: Offsets, token_flags: npt.NDArray[np.uint8], token_offsets: Offsets,
    classes: Codes, lower: Codes, phrases: Codes, phrase_offsets: Offsets, marks: Codes, max_word: int, min_words: int,
    cleaned: Codes, cited: Offsets, cited_text: Offsets, counts: npt.NDArray[np.int64],
) -> int:  # fmt: skip
    n_cited = 0
    for text in range(len(offsets) - 1):
        out = counts[text]
        token, last_token = token_offsets[text], token_offsets[text + 1]
        begin, text_end = offsets[text], offsets[text + 1]
        while begin < text_end:
            start, end = begin, begin
            words, longest, word, bracket = 0, 0, 0, False
            first, last = -1, -1
            while end < text_end:
                bits = classes[codes[end]]
                if bits & ch.SPACE:
                    word = 0
                    if bits & ch.LINE_BREAK:
                        break
                else:
                    if first < 0:
                        first = end
                    last = end
                    bracket |= codes[end] == 91
                    words += word == 0
                    word += 1
                    longest = max(longest, word)
                end += 1
            begin = end + 1
            if end + 1 < text_end and codes[end] == 13 and codes[end + 1] == 10:
                begin += 1
            first_token = token
            while token < last_token and token_starts[token] < end:
                token += 1
            out[0] += 1
            if longest > max_word:
                out[1] += 1
                continue
            start, end = first, last + 1
            if first < 0:
                start, end = 0, 0
            line, here = codes, cited[n_cited]
            if bracket:
                stop = _without_citations(codes, start, end, phrases, phrase_offsets, cleaned, here)
                bracket = stop - here != end - start
                if bracket:
                    line, start, end = cleaned, here, stop
            n = end - start
            ended = False
            if n > 0:
                for mark in marks:
                    ended |= line[end - 1] == mark
            if ended and n > 2 and line[end - 1] == 46 and line[end - 2] == 46 and line[end - 3] == 46:
                ended = False
            if len(marks) and not ended:
                out[2] += 1
                continue
            if words < min_words:
                out[3] += 1
                continue
            lorem, javascript, curly, policy = False, False, False, False
            for at in range(start, end):
                small = lower[line[at]]
                if small == 123:
                    curly = True
                elif small == 108:
                    lorem |= _is_here(line, at, end, lower, phrases, phrase_offsets[0], phrase_offsets[1])
                elif small == 106:
                    javascript |= _is_here(line, at, end, lower, phrases, phrase_offsets[1], phrase_offsets[2])
                elif small == 116 or small == 112 or small == 99 or small == 117:
                    for phrase in range(_FIRST_POLICY, _FIRST_CITATION):
                        if not policy and phrases[phrase_offsets[phrase]] == small:
                            policy = _is_here(
                                line, at, end, lower, phrases, phrase_offsets[phrase], phrase_offsets[phrase + 1]
                            )
            out[4] += lorem
            if javascript:
                out[5] += 1
                continue
            out[6] += curly
            if policy:
                out[7] += 1
                continue
            if bracket:
                cited_text[n_cited] = text
                n_cited += 1
                cited[n_cited] = end
            else:
                out[8] += _sentences(token_flags, first_token, token)
    return n_cited
