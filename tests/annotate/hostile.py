"""Strings that break what splits texts into words: marks, scripts, widths, controls and letters that fold oddly."""

from __future__ import annotations

from hypothesis import strategies as st

CHARACTERS = (
    " \n\t\r\x00\x1c\x85\u00a0\u2028\u3000'’.,-_*0٣²Ⅷaszkéßİſ\u212aΣσ中あ한א🙂\u0301\u0345\u200d\ufeff\U00010428"  # noqa: RUF001
)

HOSTILE = st.text(
    st.one_of(st.sampled_from(CHARACTERS), st.characters(exclude_categories=["Cs"])),
    max_size=30,
)
"""Any text, with the characters above more often than others."""


def made_of(words: list[str]) -> st.SearchStrategy[str]:
    """Texts of these words, each in small letters or capitals, and of anything else between and around them."""
    chosen = st.sampled_from([*words, *map(str.upper, words), *map(str.title, words)])
    return st.lists(st.one_of(chosen, st.sampled_from([" ", "-", " ", "\n"]), HOSTILE), max_size=9).map("".join)
