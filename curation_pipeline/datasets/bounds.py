"""How far a file may unpack: one rule for every format that can hold much in few bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_EXPANSION = 250.0

FREE_BYTES = 64 * 1024 * 1024
"""The ratio of a bomb is looked for only beyond this many bytes: small files may be all one letter."""


class BombError(Exception):
    """A file unpacks to more than the settings allow; carries which one."""


@dataclass(slots=True)
class Meter:
    """Counts what goes into and comes out of a decoder, against the limits.

    Attributes:
        max_expansion: most bytes out for each byte in, beyond ``FREE_BYTES``.
        max_unpacked_bytes: most bytes out.
        share: bytes on disk behind each byte in: less than one where those in were unpacked before.
        taken: bytes in.
        given: bytes out.
    """

    max_expansion: float = MAX_EXPANSION
    max_unpacked_bytes: int = 1024**4
    share: float = 1.0
    taken: float = field(default=0)
    given: int = field(default=0)

    def fresh(self) -> Meter:
        """Counts nothing yet, within the same limits."""
        return Meter(self.max_expansion, self.max_unpacked_bytes, self.share)

    def take(self, count: int) -> None:
        """Count bytes on their way in."""
        self.taken += count * self.share

    def give(self, piece: bytes) -> bytes:
        """Count a piece on its way out.

        Raises:
            BombError: a limit is passed.
        """
        self.spend(len(piece))
        return piece

    def spend(self, size: int) -> None:
        """Count bytes that are about to come out; refused ones are not counted.

        Raises:
            BombError: a limit is passed.
        """
        self.allow(size)
        self.given += size

    def allow(self, size: int) -> None:
        """Refuses what :meth:`spend` would refuse, and counts nothing.

        Raises:
            BombError: a limit would be passed.
        """
        given = self.given + size
        if given > self.max_unpacked_bytes:
            raise BombError(f"it unpacks to more than max_unpacked_bytes = {self.max_unpacked_bytes}")
        if given > FREE_BYTES + self.max_expansion * self.taken:
            raise BombError(
                f"{self.taken:.0f} stored bytes unpack to {given} or more, "
                f"a decompression bomb by max_expansion = {self.max_expansion:g}"
            )
