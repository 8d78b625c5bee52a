"""Long texts into parts of bounded length, at the boundaries a reader would choose."""

from __future__ import annotations

import re

_BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?])[\"')\]]*\s+"), re.compile(r"\s+"))
"""From the best place for a cut to the worst: paragraph, line, sentence, word."""


def split_text(text: str, max_chars: int) -> list[str]:
    """Parts of at most ``max_chars`` characters, in order; nothing but white space at the cuts is lost.

    Each cut is the last boundary of the best kind in the second half of what fits, so parts do not become slivers.
    """
    parts = []
    start = 0
    while len(text) - start > max_chars:
        cut = _cut(text, start, max_chars)
        parts.append(text[start:cut].strip())
        start = cut
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _cut(text: str, start: int, max_chars: int) -> int:
    """Where the part that begins at ``start`` ends."""
    half, end = start + max_chars // 2, start + max_chars
    for boundary in _BOUNDARIES:
        ends = [found.end() for found in boundary.finditer(text, half, end)]
        if ends:
            return ends[-1]
    return end
