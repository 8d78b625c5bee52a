"""The compiled loops that split texts into words (see ``tokens``), all in one module: see ``compiled``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation_pipeline.annotate.compiled import compiled, inlined
from curation_pipeline.annotate.quality import characters as ch

Codes = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

SYMBOLS_ONLY = np.uint8(1)
"""The token has no character but marks."""
HAS_LETTER = np.uint8(2)
"""The token has at least one letter."""
SENTENCE_MARK = np.uint8(4)
"""The token is one character that ends a sentence."""
PUNCTUATION_ONLY = np.uint8(8)
"""All characters of the token are punctuation."""
AFTER_GAP = np.uint8(16)
"""White space other than one blank is before the token."""

SEED = np.uint64(0xCBF29CE484222325)
FACTOR = np.uint64(0x9E3779B97F4A7C15)
FOLD = np.uint64(29)
LONGEST_UNIT = 4
"""Characters of the longest unit of measure that is split off a number."""


@inlined
def hash_of(codes: Codes, start: int, end: int) -> np.uint64:
    """Hash of 64 bits of the characters ``start:end``."""
    value = SEED
    for i in range(start, end):
        value = (value ^ np.uint64(codes[i])) * FACTOR
    return np.uint64(value ^ (value >> FOLD))


@compiled
def hash_each(codes: Codes, offsets: Offsets, hashes: Hashes) -> None:
    """Hash of each text, written to ``hashes``."""
    for i in range(len(hashes)):
        hashes[i] = hash_of(codes, offsets[i], offsets[i + 1])


@compiled
def _find(codes: Codes, start: int, end: int, keys: Hashes, longest: int) -> int:
    """Slot of the exception that these characters are, or -1."""
    if end - start > longest or end <= start:
        return -1
    key = hash_of(codes, start, end)
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == key:
            return np.int64(slot)  # type: ignore[return-value] # int() of an unsigned number stays unsigned in numba
        slot = (slot + np.uint64(1)) & mask
    return -1


@compiled
def _prefix(codes: Codes, start: int, end: int, classes: Codes) -> int:
    """Characters to split off the front of ``start:end``."""
    first = codes[start]
    if first == 46:  # a run of full stops
        n = 1
        while start + n < end and codes[start + n] == 46:
            n += 1
        return n if n > 1 else 0
    if classes[first] & ch.PREFIX:
        return 1
    if first == 43:  # + unless it is the sign of a number
        return 0 if start + 1 < end and classes[codes[start + 1]] & ch.DIGIT else 1
    if first == 85 and start + 2 < end and codes[start + 1] == 83 and codes[start + 2] == 36:  # US$
        return 3
    if (first == 65 or first == 67) and start + 1 < end and codes[start + 1] == 36:  # A$, C$
        return 2
    return 0


@compiled
def _suffix(codes: Codes, start: int, end: int, classes: Codes, units: Hashes) -> int:
    """Characters to split off the end of ``start:end``: the longest suffix."""
    n = end - start
    if n <= 0:
        return 0
    last = codes[end - 1]
    bits = classes[last]
    before = classes[codes[end - 2]] if n > 1 else np.uint32(0)
    if last == 46:
        run = 1
        while run < n and codes[end - 1 - run] == 46:
            run += 1
        if run > 1:
            return run
        if before & ch.BEFORE_STOP:
            return 1
        if n > 2 and before & ch.UPPER and classes[codes[end - 3]] & ch.UPPER:
            return 1
        return 0
    for length in range(min(LONGEST_UNIT, n - 1), 0, -1):
        if classes[codes[end - length - 1]] & ch.DIGIT:
            if bits & ch.CURRENCY and (
                length == 1
                or (last == 36 and length == 2 and (codes[end - 2] == 65 or codes[end - 2] == 67))
                or (last == 36 and length == 3 and codes[end - 3] == 85 and codes[end - 2] == 83)
            ):
                return length
            key = hash_of(codes, end - length, end)
            place = np.searchsorted(units, key)
            if place < len(units) and units[place] == key:
                return length
    if n > 1:
        if last == 0x2026 and codes[end - 2] == 0x2026:
            return 2
        if (last == 115 or last == 83) and (codes[end - 2] == 39 or codes[end - 2] == 0x2019):  # 's
            return 2
        if last == 43 and before & ch.DIGIT:
            return 1
    return 1 if bits & ch.SUFFIX else 0


@compiled
def _infix(codes: Codes, start: int, at: int, end: int, classes: Codes) -> int:
    """Characters of the mark at ``at`` that splits ``start:end``, 0 if it does not."""
    mark = codes[at]
    before = classes[codes[at - 1]] if at > start else np.uint32(0)
    after = classes[codes[at + 1]] if at + 1 < end else np.uint32(0)
    if mark == 46 and at + 1 < end and codes[at + 1] == 46:
        n = 2
        while at + n < end and codes[at + n] == 46:
            n += 1
        return n
    if mark == 0x2026 or classes[mark] & ch.ICON:
        return 1
    if mark == 46:
        return 1 if before & (ch.LOWER | ch.QUOTE) and after & (ch.UPPER | ch.QUOTE) else 0
    if (
        (mark == 43 or mark == 45 or mark == 42 or mark == 94)
        and before & ch.DIGIT
        and at + 1 < end
        and (after & ch.DIGIT or codes[at + 1] == 45)
    ):
        return 1
    if mark == 44:
        return 1 if before & ch.LETTER and after & ch.LETTER else 0
    if not before & (ch.LETTER | ch.DIGIT):
        return 0
    if mark == 45 or mark == 0x2013 or mark == 0x2014 or mark == 126:
        n = 1
        while n < 3 and at + n < end and codes[at + n] == mark:
            n += 1
        # One of any of them; two or three hyphens; two long dashes.
        if n == 1 or (mark == 45 and n <= 3) or (mark == 0x2014 and n == 2):
            return n if at + n < end and classes[codes[at + n]] & ch.LETTER else 0
        return 0
    if mark == 58 or 60 <= mark <= 62 or mark == 47:
        return 1 if after & ch.LETTER else 0
    return 0


@compiled
def _host(codes: Codes, start: int, end: int, classes: Codes) -> bool:
    """Whether ``start:end`` is a host name, and after it perhaps a port and a path."""
    stop, dot, label = start, -1, start
    while stop < end and classes[codes[stop]] & ch.HOST:
        if codes[stop] == 46:
            if stop == label or stop - label > 64:
                return False
            for edge in (label, stop - 1):
                if codes[edge] == 45 or codes[edge] == 95:
                    return False
            dot, label = stop, stop + 1
        stop += 1
    if dot < 0 or not 2 <= stop - label <= 63:
        return False
    for i in range(label, stop):
        if not classes[codes[i]] & ch.LOWER:
            return False
    if stop < end and codes[stop] == 58:
        digits = stop + 1
        while digits < end and classes[codes[digits]] & ch.DIGIT:
            digits += 1
        if not 2 <= digits - stop - 1 <= 5:
            return False
        stop = digits
    return stop == end or codes[stop] == 47 or codes[stop] == 63 or codes[stop] == 35


@compiled
def _address(codes: Codes, start: int, end: int, classes: Codes) -> bool:
    """Whether ``start:end`` is a web or mail address."""
    if _host(codes, start, end, classes):
        return True
    scheme = True
    for i in range(start + 1, end):
        if codes[i] == 64 and _host(codes, i + 1, end, classes):
            return True
        if (
            scheme
            and codes[i] == 58
            and i - start >= 2
            and i + 2 < end
            and codes[i + 1] == 47
            and codes[i + 2] == 47
            and _host(codes, i + 3, end, classes)
        ):
            return True
        c = codes[i]
        scheme = scheme and (classes[c] & (ch.ALPHABETIC | ch.DIGIT) != 0 or c == 43 or c == 45 or c == 46 or c == 95)
    return False


@inlined
def _put(start: int, end: int, n: int, starts: Offsets, lengths: npt.NDArray[np.int32]) -> int:
    """Write where one token is; the number of tokens after it."""
    starts[n], lengths[n] = start, end - start
    return n + 1


@compiled
def _chunk(
    codes: Codes, start: int, end: int, classes: Codes, n: int,
    keys: Hashes, pieces: npt.NDArray[np.int8], longest: int, units: Hashes, suffixes: Offsets,
    starts: Offsets, lengths: npt.NDArray[np.int32],
) -> int:  # fmt: skip
    """Split one run of characters without white space; the number of tokens after it."""
    low, high, n_suffixes = start, end, 0
    slot = -1
    while low < high:
        slot = _find(codes, low, high, keys, longest)
        if slot >= 0:
            break
        before = _prefix(codes, low, high, classes)
        after = 0
        # An exception behind the mark in front, or before the one at the end, is taken as it is.
        slot = _find(codes, low + before, high, keys, longest) if before else -1
        if slot < 0:
            after = _suffix(codes, low + before, high, classes, units)
            slot = _find(codes, low, high - after, keys, longest) if after else -1
            if slot >= 0:
                before = 0
        if before:
            n = _put(low, low + before, n, starts, lengths)
            low += before
        if after:
            high -= after
            suffixes[n_suffixes] = high
            n_suffixes += 1
        if slot >= 0 or before + after == 0:
            break
    if slot >= 0:
        for part in range(4):
            if pieces[slot, part]:
                n = _put(low, low + pieces[slot, part], n, starts, lengths)
                low += pieces[slot, part]
    elif low < high:
        begin, at, checked = low, low, False
        while at < high:
            size = _infix(codes, low, at, high, classes) if classes[codes[at]] & ch.INFIX else 0
            if size and not checked:
                checked = True
                if _address(codes, low, high, classes):
                    break
            if size and at > low:
                if at > begin:
                    n = _put(begin, at, n, starts, lengths)
                n = _put(at, at + size, n, starts, lengths)
                begin = at + size
            at += max(size, 1)
        if begin < high:
            n = _put(begin, high, n, starts, lengths)
    for i in range(n_suffixes - 1, -1, -1):
        n = _put(suffixes[i], suffixes[i - 1] if i else end, n, starts, lengths)
    return n


@compiled
def _join(
    codes: Codes, first: int, n: int, keys: Hashes, pieces: npt.NDArray[np.int8], longest: int,
    bounds: Offsets, starts: Offsets, lengths: npt.NDArray[np.int32],
) -> int:  # fmt: skip
    """Replace neighbours of one chunk that add up to an exception with its tokens; the number of tokens after it.

    The tokens as they were go to ``bounds`` first: "°C." has one token more than its affixes make of it, so that
    writing over them in place would overtake reading.
    """
    count = n - first
    for i in range(count):
        bounds[i] = starts[first + i]
    bounds[count] = starts[n - 1] + lengths[n - 1]
    i, n = 0, first
    while i < count:
        last = i + 1
        while last < count and bounds[last + 1] - bounds[i] <= longest:
            last += 1
        slot = -1
        while last > i + 1:
            slot = _find(codes, bounds[i], bounds[last], keys, longest)
            if slot >= 0 and pieces[slot, 4] == last - i:
                break
            slot = -1
            last -= 1
        if slot >= 0:
            start = bounds[i]
            for part in range(4):
                if pieces[slot, part]:
                    n = _put(start, start + pieces[slot, part], n, starts, lengths)
                    start += pieces[slot, part]
        else:
            n = _put(bounds[i], bounds[i + 1], n, starts, lengths)
        i = last
    return n


@compiled
def split(
    codes: Codes, offsets: Offsets, classes: Codes, keys: Hashes, pieces: npt.NDArray[np.int8], longest: int,
    units: Hashes, hashes: Hashes, starts: Offsets, lengths: npt.NDArray[np.int32], flags: npt.NDArray[np.uint8],
    suffixes: Offsets, token_offsets: Offsets,
) -> None:  # fmt: skip
    """Tokens of each text, written to ``hashes`` and so on (see ``tokens.Tokens``); ``suffixes`` is scratch."""
    n = 0
    mask = np.uint64(len(keys) - 1)
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        begin = at
        while at < end:
            space = at
            while at < end and classes[codes[at]] & ch.SPACE:
                at += 1
            if at == end:
                break
            gap = at - space > 1 or (at > space and (codes[space] != 32 or space == begin))
            start, value = at, SEED
            all_of = np.uint32(0xFFFFFFFF)
            while at < end:
                bits = classes[codes[at]]
                if bits & ch.SPACE:
                    break
                all_of &= bits
                value = (value ^ np.uint64(codes[at])) * FACTOR
                at += 1
            value ^= value >> FOLD
            first = n
            if all_of & ch.PLAIN:
                # Nine chunks of ten: letters only, a token unless it is an exception such as "cannot".
                known = False
                if at - start <= longest:
                    slot = value & mask
                    while keys[slot] != np.uint64(0) and keys[slot] != value:
                        slot = (slot + np.uint64(1)) & mask
                    known = keys[slot] != np.uint64(0)
                if not known:
                    hashes[n], starts[n], lengths[n] = value, start, at - start
                    flags[n] = HAS_LETTER | (AFTER_GAP if gap else np.uint8(0))
                    n += 1
                    continue
            n = _chunk(codes, start, at, classes, n, keys, pieces, longest, units, suffixes, starts, lengths)
            if n - first > 1:
                n = _join(codes, first, n, keys, pieces, longest, suffixes, starts, lengths)
            for i in range(first, n):
                value, any_of, all_of = SEED, np.uint32(0), np.uint32(0xFFFFFFFF)
                for place in range(starts[i], starts[i] + lengths[i]):
                    value = (value ^ np.uint64(codes[place])) * FACTOR
                    any_of |= classes[codes[place]]
                    all_of &= classes[codes[place]]
                hashes[i] = value ^ (value >> FOLD)
                flag = AFTER_GAP if gap and i == first else np.uint8(0)
                if all_of & ch.SYMBOL:
                    flag |= SYMBOLS_ONLY
                if any_of & ch.ALPHABETIC:
                    flag |= HAS_LETTER
                if all_of & ch.PUNCTUATION:
                    flag |= PUNCTUATION_ONLY
                if lengths[i] == 1 and all_of & ch.SENTENCE_END:
                    flag |= SENTENCE_MARK
                flags[i] = flag
        token_offsets[text + 1] = n


@compiled
def count_without_exceptions(
    codes: Codes, offsets: Offsets, classes: Codes, units: Hashes, counts: npt.NDArray[np.int8]
) -> None:
    """Tokens that the rule of affixes alone makes of each text; 0 for one without any affix."""
    keys, pieces = np.zeros(1, dtype=np.uint64), np.zeros((1, 5), dtype=np.int8)
    size = len(codes) + 1
    starts, suffixes = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    lengths = np.empty(size, dtype=np.int32)
    for i in range(len(counts)):
        n = _chunk(codes, offsets[i], offsets[i + 1], classes, 0, keys, pieces, 0, units, suffixes, starts, lengths)
        counts[i] = n if n > 1 else 0
