"""The loops over the bytes of texts that class characters and hash words, pieces of words and figures, as machine code.

They share how UTF-8 is decoded, what becomes of a code point (the table of ``wordhash``) and how hashes are mixed. They
are one module because numba renews its stored code when the file of a function changes, whatever it calls elsewhere.
"""

from __future__ import annotations

import numpy as np

from curation_pipeline.annotate.compiled import compiled, inlined

WORD, BREAK, SKIP, SINGLE, DIGIT = range(5)
"""What becomes of a code point: a letter, a break between words, nothing, a word of its own, or a digit."""
NUMBER, SIGN, OPERATOR, MINUS, POINT = range(1, 6)
"""Kinds of characters in figures: digits and numerals; signs that mean something anywhere; those that do so between
numbers (as ``*``, which also makes lists); the minus, which may also come before one; those inside of a number."""

LAST_IDEOGRAPH = 0x40000
OTHER = ((0x0370, 0x1CFF), (0x3130, 0x318F), (0xAC00, 0xD7FF))
"""Greek to Cherokee and Korean: a word of one of these ends where Latin letters begin, and the other way round."""

WINDOW = 64
"""Words and signs after a figure among which the next two words are looked for."""

SEED, PRIME = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x100000001B3)
FIRST_MIX, SECOND_MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STAR, _EDGE = 0x2A, 0x20


@inlined
def _code_point(raw: np.ndarray, at: np.uint64) -> tuple[np.uint32, np.uint64]:
    """The code point whose UTF-8 begins at ``at``, and where the next one does."""
    point = np.uint32(raw[at])
    at += np.uint64(1)
    if point >= 0x80:
        extra = 1 if point < 0xE0 else 2 if point < 0xF0 else 3
        point &= np.uint32(0x3F >> extra)
        for _ in range(extra):
            point = (point << np.uint32(6)) | np.uint32(raw[at] & 0x3F)
            at += np.uint64(1)
    return point, at


@compiled
def classify(raw: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """Write the entry of each character to all of its bytes; see `characters.classes_of`."""
    at, stop = np.uint64(0), np.uint64(raw.size)
    while at < stop:
        point, after = _code_point(raw, at)
        bits = table[point]
        while at < after:
            out[at] = bits
            at += np.uint64(1)


@inlined
def _fate(point: np.uint32, table: np.ndarray) -> tuple[np.uint32, np.uint64]:
    """What becomes of a code point, and the letter it is folded to."""
    if point < table.size:
        return table[point] & np.uint32(7), np.uint64(table[point] >> np.uint32(3))
    return np.uint32(SINGLE if point < LAST_IDEOGRAPH else SKIP), np.uint64(point)


@inlined
def _mixed(value: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * FIRST_MIX
    value = (value ^ (value >> np.uint64(27))) * SECOND_MIX
    return value ^ (value >> np.uint64(31))


@inlined
def _script(letter: np.uint64) -> int:
    """2 for a letter of the scripts in `OTHER`, else 1."""
    for k in range(len(OTHER)):
        if OTHER[k][0] <= letter <= OTHER[k][1]:
            return 2
    return 1


@compiled
def hash_words(
    raw: np.ndarray, ends: np.ndarray, table: np.ndarray, fold_digits: bool, out: np.ndarray, offsets: np.ndarray
) -> None:
    """Hash the letters of each word by FNV-1a and mix the result; see `wordhash.word_hashes`."""
    n_words = np.uint64(0)  # unsigned indices spare the test for negative ones
    for row in range(ends.size - 1):
        at = np.uint64(ends[row])
        stop = np.uint64(ends[row + 1])
        value = SEED
        digit_before = False
        script = 0
        while at < stop:
            point, at = _code_point(raw, at)
            kind, letter = _fate(point, table)
            if kind == WORD:
                if letter > 57:
                    before, script = script, _script(letter)
                    if value != SEED and before != 0 and script != before:
                        out[n_words] = _mixed(value)
                        n_words += np.uint64(1)
                        value = SEED
                value = (value ^ letter) * PRIME
                digit_before = False
            elif kind in (BREAK, SINGLE):
                if value != SEED:
                    out[n_words] = _mixed(value)
                    n_words += np.uint64(1)
                    value = SEED
                if kind == SINGLE:
                    value = (SEED ^ letter) * PRIME
                    out[n_words] = _mixed(value)
                    n_words += np.uint64(1)
                    value = SEED
                digit_before = False
                script = 0
            elif kind == DIGIT:
                if not fold_digits:
                    value = (value ^ letter) * PRIME
                elif not digit_before:
                    value = (value ^ np.uint64(48)) * PRIME
                digit_before = True
        if value != SEED:
            out[n_words] = _mixed(value)
            n_words += np.uint64(1)
        offsets[row + 1] = n_words


@compiled
def hash_subwords(
    raw: np.ndarray,
    ends: np.ndarray,
    table: np.ndarray,
    bits: int,
    factor: np.ndarray,
    word: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Close words, hash them and their pieces, then count within each text; see `subwords.subword_features`."""
    mask = np.uint64((1 << bits) - 1)
    block = np.int32(1 << bits)
    weighted = factor.size > 1
    out = 0
    for row in range(ends.size - 1):
        at, stop = ends[row], ends[row + 1]
        first = out
        size = 1  # word[0] is the boundary
        word[0] = np.uint64(_EDGE)
        digit_before = False
        before = np.uint64(0)
        script = 0
        while at <= stop:
            begin = at
            kind = np.uint32(1)  # past the last byte a word ends
            letter = np.uint64(0)
            single = False
            if at < stop:
                point, after = _code_point(raw, np.uint64(at))
                at = np.int64(after)
                kind, letter = _fate(point, table)
                if point == _STAR and size > 1 and at < stop and (raw[at] | 0x20) >= 97 and (raw[at] | 0x20) <= 122:
                    kind = np.uint32(0)
                    letter = np.uint64(_STAR)
            else:
                at += 1
            if kind == 2:
                continue
            if kind == 0 and letter > 57:
                own = _script(letter)
                if script != 0 and own != script and size > 1:
                    at, kind = begin, np.uint32(1)  # the word ends here, and the letter is read again
                else:
                    script = own
            if kind == 0:
                word[size] = letter
                size += 1
                digit_before = False
                continue
            if kind == 4:
                if not digit_before:
                    word[size] = np.uint64(48)
                    size += 1
                digit_before = True
                continue
            single = kind == 3
            digit_before = False
            script = 0
            # A break closes the word before it; a letter of a script without spaces is then a word of its own.
            while size > 1 or single:
                if size == 1:
                    word[1] = letter
                    size = 2
                    single = False
                word[size] = np.uint64(_EDGE)
                value = SEED
                for i in range(1, size):
                    value = (value ^ word[i]) * PRIME
                value = _mixed(value)
                columns[out] = np.int32((value >> np.uint64(17)) & mask)
                out += 1
                if before != 0:
                    pair = (before * PRIME ^ (value + SEED)) * FIRST_MIX
                    pair = (pair ^ (pair >> np.uint64(27))) * SECOND_MIX
                    columns[out] = np.int32((pair >> np.uint64(33)) & mask)
                    out += 1
                before = value
                for start in range(size - 1):
                    value = SEED ^ PRIME
                    for i in range(start, min(start + 5, size + 1)):
                        value = (value ^ word[i]) * PRIME
                        if i - start >= 2:
                            mixed = (value ^ (value >> np.uint64(30))) * FIRST_MIX
                            mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND_MIX
                            columns[out] = block + np.int32((mixed >> np.uint64(33)) & mask)
                            out += 1
                size = 1
        found = columns[first:out]
        found.sort()
        # Count equal columns in place, then scale each block to unit length.
        end = first
        place = first
        squares_words = 0.0
        squares_pieces = 0.0
        while place < out:
            column = columns[place]
            count = 1
            while place + count < out and columns[place + count] == column:
                count += 1
            value_of = np.sqrt(np.float64(count))
            if weighted:
                value_of *= np.float64(factor[column])
            place += count
            if value_of > 0.0:
                columns[end] = column
                values[end] = np.float32(value_of)
                if column < block:
                    squares_words += value_of * value_of
                else:
                    squares_pieces += value_of * value_of
                end += 1
        for i in range(first, end):
            squares = squares_words if columns[i] < block else squares_pieces
            values[i] = np.float32(np.float64(values[i]) / np.sqrt(squares))
        out = end
        offsets[row + 1] = end


@compiled
def hash_figures(
    raw: np.ndarray,
    ends: np.ndarray,
    table: np.ndarray,
    kinds: np.ndarray,
    short: int,
    hashes: np.ndarray,
    classes: np.ndarray,
    out: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Divide each text into words and signs as `hash_words` does, then hash the runs of figures."""
    upper = np.uint64(0xFFFFFFFF00000000)
    n_out = 0
    for row in range(ends.size - 1):
        at, stop = ends[row], ends[row + 1]
        n, n_words = 0, 0
        value = SEED
        number = False  # whether the word that is being read holds one
        digit_before = False
        word_before = False
        while at <= stop:
            fate, letter, kind, sign = np.uint32(1), np.uint64(0), np.uint32(0), np.uint64(0)
            if at < stop:
                point, after = _code_point(raw, np.uint64(at))
                at = np.int64(after)
                fate, letter = _fate(point, table)
                if point < table.size:
                    kind, sign = kinds[point] & np.uint32(7), np.uint64(kinds[point] >> np.uint32(3))
            else:
                at += 1
            if fate == 2:
                continue
            if fate == 0 or fate == 4:
                value = (value ^ letter) * PRIME
                number |= kind == NUMBER
                digit_before = kind == NUMBER
                word_before = True
                continue
            if value != SEED:
                hashes[n], classes[n] = value, NUMBER if number else 0
                n, n_words = n + 1, n_words + 1
                value, number = SEED, False
            if fate == 3:
                hashes[n], classes[n] = (SEED ^ letter) * PRIME, kind
                n, n_words = n + 1, n_words + 1
            elif kind != 0:
                digit_after = at < stop and 48 <= raw[at] <= 57
                if kind == MINUS and (word_before or not digit_after):
                    kind = np.uint32(OPERATOR)
                if kind == POINT:
                    kind = np.uint32(OPERATOR if digit_before and digit_after else 0)
                if kind != 0:
                    # The minus of one number is another sign than that between two.
                    sign += np.uint64(1 << 33 if kind == MINUS else 1 << 32)
                    hashes[n], classes[n] = (SEED ^ sign) * PRIME, kind
                    n += 1
            digit_before = word_before = False
        first = n_out
        if 0 < n_words < short:
            whole = SEED
            for i in range(n):
                between = 0 < i < n - 1 and classes[i - 1] == NUMBER and classes[i + 1] == NUMBER
                if classes[i] != OPERATOR or between:
                    whole = (whole ^ hashes[i]) * FIRST_MIX
                    whole ^= whole >> np.uint64(29)
            out[n_out] = whole >> np.uint64(32)
            n_out += 1
        elif n_words > 0:
            before, last = SEED, SEED  # the two words that were read last
            i = 0
            while i < n:
                if classes[i] == 0:
                    before, last = last, hashes[i]
                    i += 1
                    continue
                if classes[i] == OPERATOR:
                    i += 1
                    continue
                begin, previous = n_out, np.uint64(0)
                while i < n and classes[i] != 0:
                    if classes[i] == OPERATOR and not (i + 1 < n and classes[i + 1] == NUMBER):
                        break
                    if classes[i] == NUMBER or hashes[i] != previous:
                        if previous != 0:
                            out[n_out] = (previous * PRIME ^ hashes[i]) * FIRST_MIX
                            n_out += 1
                        # A number with a sign is another than the bare number, so it counts with its sign only.
                        signed = classes[i] == NUMBER and previous != 0 and classes[i - 1] != NUMBER
                        if classes[i] == NUMBER and i + 1 < n and classes[i + 1] > NUMBER:
                            signed |= classes[i + 1] != OPERATOR or (i + 2 < n and classes[i + 2] == NUMBER)
                        if not signed:
                            out[n_out] = hashes[i] * FIRST_MIX
                            n_out += 1
                    previous = hashes[i]
                    i += 1
                around = (before * PRIME ^ last) * FIRST_MIX
                around ^= around >> np.uint64(31)
                found, j = 0, i
                while j < min(n, i + WINDOW) and found < 2:
                    if classes[j] == 0:
                        around = (around ^ hashes[j]) * FIRST_MIX
                        around ^= around >> np.uint64(29)
                        found += 1
                    j += 1
                around = (around + np.uint64(found)) * FIRST_MIX
                for j in range(begin, n_out):
                    # An upper half of zero is that of short texts.
                    out[j] = ((around | np.uint64(1 << 32)) & upper) | (out[j] >> np.uint64(32))
        if n_out > first + 1:
            run = out[first:n_out]
            run.sort()
        kept = first
        for i in range(first, n_out):
            if i == first or out[i] != out[kept - 1]:
                out[kept] = out[i]
                kept += 1
        n_out = kept
        offsets[row + 1] = n_out
