"""Thrift's compact protocol, in which Parquet describes itself. Whatever the bytes, the worst is a ValueError."""

from __future__ import annotations

from typing import Any

BOOL, I32, I64, BINARY, LIST, STRUCT = 1, 5, 6, 8, 9, 12
"""Types of fields that Parquet's descriptions use."""

MAX_DEPTH = 32

Struct = dict[tuple[int, int], Any]
"""Values by number and type of their field: a field of another type than the one expected is another field."""


class TruncatedError(ValueError):
    """The bytes end inside the structure."""


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """The structure that begins at a place, and the place behind it.

    Raises:
        TruncatedError: the bytes end before it does.
        ValueError: it is damaged.
    """
    reader = _Reader(data, at)
    try:
        return reader.struct(0), reader.at
    except IndexError:
        raise TruncatedError("the description is cut off") from None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned whole number of seven bits a byte, and the place behind it."""
    reader = _Reader(data, at)
    return reader.varint(), reader.at


def zigzag(value: int) -> int:
    """The signed number that an unsigned one stands for."""
    return (value >> 1) ^ -(value & 1)


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFFFFFFFFFFFFFF
            shift += 7
        raise ValueError("a number of more than ten bytes")

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise IndexError
        self.at += size
        return self.data[self.at - size : self.at]

    def struct(self, depth: int) -> Struct:
        if depth > MAX_DEPTH:
            raise ValueError(f"a description that nests deeper than {MAX_DEPTH}")
        found: Struct = {}
        number = 0
        while True:
            head = self.data[self.at]
            self.at += 1
            kind = head & 15
            if not kind:
                return found
            number = number + (head >> 4) if head >> 4 else zigzag(self.varint() & 0xFFFF)
            found[number, BOOL if kind == 2 else kind] = kind == 1 if kind <= 2 else self.value(kind, depth)

    def value(self, kind: int, depth: int) -> Any:
        if kind in (4, I32):
            return zigzag(self.varint() & 0xFFFFFFFF)
        if kind == I64:
            return zigzag(self.varint())
        if kind == BINARY:
            return self.take(self.varint())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, 10):
            head = self.take(1)[0]
            size = head >> 4 if head >> 4 < 15 else self.varint()
            return [self.value(head & 15, depth + 1) for _ in self.checked(size)]
        if kind == 11:
            pairs = self.checked(self.varint())
            kinds = self.take(1)[0] if pairs else 0
            return [(self.value(kinds >> 4, depth + 1), self.value(kinds & 15, depth + 1)) for _ in pairs]
        if kind in (1, 2, 3):
            return self.take(1)[0]
        if kind in (7, 13):
            return self.take(8 if kind == 7 else 16)
        raise ValueError(f"a field of the unknown type {kind}")

    def checked(self, size: int) -> range:
        """That many elements, each of which takes a byte at least."""
        if size > len(self.data) - self.at:
            raise IndexError
        return range(size)
