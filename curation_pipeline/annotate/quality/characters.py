"""What the quality rules need to know of each Unicode character, as one table of bits.

The rules look at characters in a compiled loop, where a property must cost one memory read. The sets that are no
property of Unicode (which marks count as a symbol or as an affix) are those by which datatrove and spaCy's English
tokeniser read the rules, so that the same thresholds mean the same thing here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SPACE = np.uint32(1 << 0)
"""White space, as ``str.isspace`` has it: separates words."""
LINE_BREAK = np.uint32(1 << 1)
"""Ends a line, as ``str.splitlines`` has it (a carriage return and its line feed are one)."""
ALPHABETIC = np.uint32(1 << 2)
"""A letter of any script, as ``str.isalpha`` has it."""
DIGIT = np.uint32(1 << 3)
"""0 to 9."""
LETTER = np.uint32(1 << 4)
"""A letter of a script inside whose words the tokeniser splits at commas, hyphens and colons."""
LOWER = np.uint32(1 << 5)
"""A LETTER that is not a capital (scripts without case included)."""
UPPER = np.uint32(1 << 6)
"""A LETTER that is not small (scripts without case included)."""
SYMBOL = np.uint32(1 << 7)
"""A mark: a token of these only is not counted as a word by Gopher's length rules."""
PUNCTUATION = np.uint32(1 << 8)
"""Unicode category P."""
SENTENCE_END = np.uint32(1 << 9)
"""Ends a sentence in some script (Unicode property Sentence_Terminal)."""
QUOTE = np.uint32(1 << 10)
"""A quotation mark or one of the marks that the tokeniser treats like one."""
PREFIX = np.uint32(1 << 11)
"""Split off the front of a chunk."""
SUFFIX = np.uint32(1 << 12)
"""Split off the end of a chunk."""
CURRENCY = np.uint32(1 << 13)
"""A sign of currency: split off the front, and off the end after a digit."""
ICON = np.uint32(1 << 14)
"""Unicode category So: split off anywhere."""
BEFORE_STOP = np.uint32(1 << 15)
"""A full stop after it is a token of its own."""
INFIX = np.uint32(1 << 16)
"""May split a chunk in its middle."""
HOST = np.uint32(1 << 17)
"""May stand in the host name of an address."""
PLAIN = np.uint32(1 << 18)
"""Part of a chunk that is one token whatever its neighbours are: a letter that no rule of the tokeniser names."""

HIGHEST = 0x32400
"""Above this only private use, tags and variation selectors are assigned, none of which has a property here."""

_SENTENCE_END = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6 "
    "17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 "
    "2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB "
    "FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 "
    "111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 "
    "1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 "
    "16B44 16E98 1BC9F 1DA88"
)
_CONTROL = "0-8 B-1F 7F-9F"
_SYMBOLS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～"  # noqa: RUF001
_PUNCT = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"  # noqa: RUF001
_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"  # noqa: RUF001
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

_CASED = (
    "41-5A 61-7A C0-D6 D8-F6 F8-1BF 1C4-2AF 386 388-38A 38C 38E-38F 391-3A9 3AC-3AF 3B1-3C9 3CC-3CE 400-401 403-40A "
    "40C-40D 410-451 453-45A 45C-45D 490-491 496-497 4A2-4A3 4AE-4AF 4BA-4BB 4D8-4D9 4E8-4E9 1D00-1D25 1D6B-1D9A "
    "1E00-1EFF 2C60-2C7F A722-A787 A78B-A7B9 A7FA AB30-AB5A AB60-AB64 FF21-FF3A FF41-FF5A"
)
"""Latin, Greek and Cyrillic letters."""
_UNCASED = (
    "591-5F4 620-64A 66E-6D5 6E5-6FF 750-77F 8A0-8BD 900-9FF B80-BFF C00-CFF D80-DFF 1100-137F 2E80-2FDF 2FF0-30FF "
    "31C0-31EF 3200-4DBF 4E00-9FFF AC00-D7AF F900-FAFF FB1D-FBB1 FBD3-FD3D FD50-FDC7 FDF0-FDFB FE30-FE4F FE70-FEFC "
    "1EE00-1EEBB 1F200-1F2FF 20000-2EBEF 2F800-2FA1F"
)
"""Blocks of the scripts without case that count as letters: Hebrew, Arabic, Indic, Ethiopic, Korean, Japanese, CJK."""


def _ranges(text: str) -> list[int]:
    """Code points of a list such as ``21 3F-41``."""
    found: list[int] = []
    for item in text.split():
        first, _, last = item.partition("-")
        found.extend(range(int(first, 16), int(last or first, 16) + 1))
    return found


@lru_cache(maxsize=1)
def class_table() -> npt.NDArray[np.uint32]:
    """The bits of each code point, shape (0x110000,); about 0.1 s the first time, then kept."""
    table = np.zeros(0x110000, dtype=np.uint32)
    # Surrogates cannot stand in a text, and chr() of them is harmless.
    characters = list(map(chr, range(HIGHEST)))
    category = np.array(list(map(unicodedata.category, characters)))

    def give(bit: np.uint32, where: Iterable[int] | npt.NDArray[np.bool_]) -> None:
        index = np.flatnonzero(where) if isinstance(where, np.ndarray) else np.array(list(where), dtype=np.int64)
        table[index] |= bit

    def has(bit: np.uint32) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (table[:HIGHEST] & bit) != 0
        return found

    give(SPACE, np.fromiter(map(str.isspace, characters), dtype=bool, count=HIGHEST))
    give(ALPHABETIC, np.fromiter(map(str.isalpha, characters), dtype=bool, count=HIGHEST))
    give(LINE_BREAK, map(ord, _LINE_BREAKS))
    give(DIGIT, range(ord("0"), ord("9") + 1))
    give(SENTENCE_END, _ranges(_SENTENCE_END))
    give(SYMBOL, [*map(ord, _SYMBOLS), *_ranges(_CONTROL), *_ranges(_SENTENCE_END)])
    give(PUNCTUATION, np.char.startswith(category, "P"))
    give(ICON, category == "So")
    give(QUOTE, map(ord, _QUOTES))
    give(CURRENCY, map(ord, _CURRENCY))

    cased = np.zeros(HIGHEST, dtype=bool)
    cased[_ranges(_CASED)] = True
    capital = np.isin(category, ("Lu", "Lt"))
    give(LOWER, cased & ~capital)
    give(UPPER, cased & capital)
    give(LETTER, cased)
    for bit in (LETTER, LOWER, UPPER):
        give(bit, _ranges(_UNCASED))

    give(PREFIX, map(ord, "§%=—–" + _PUNCT + _QUOTES + _CURRENCY))  # noqa: RUF001
    give(SUFFIX, map(ord, "—–" + _PUNCT + _QUOTES))  # noqa: RUF001
    give(PREFIX | SUFFIX, has(ICON))
    give(BEFORE_STOP, has(LOWER) | has(DIGIT) | has(QUOTE))
    give(BEFORE_STOP, map(ord, "%²+-|" + _PUNCT))
    give(INFIX, has(ICON))
    give(INFIX, map(ord, "….+-*^,–—~:<>=/"))  # noqa: RUF001
    give(HOST, [*map(ord, "-_."), *range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *range(0xA1, 0x10000)])
    give(HOST, has(LOWER))
    give(PLAIN, has(ALPHABETIC) & ~has(PREFIX) & ~has(SUFFIX) & ~has(INFIX))
    table.setflags(write=False)
    return table
