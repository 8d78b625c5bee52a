"""ZIP archives, whose members are read like files. Nothing is ever unpacked to a path that an archive names."""

from __future__ import annotations

import io
import lzma
import stat
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, cast
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

STEP_BYTES = 4 * 1024
"""Bytes unpacked at once: what a step gives before damage is lost."""

METHODS = (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA)

_DAMAGE = (BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)
"""What the standard library raises where an archive is damaged or of a kind that it does not know."""


class ArchiveError(Exception):
    """An archive, or a member of it, cannot be read; carries why."""


class Archive:
    """An open archive."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the table of contents.

        Args:
            stream: the archive's file, which stays the caller's to close.

        Raises:
            ArchiveError: there is none, or its members overlap, which is how a small file holds a huge one many times.
        """
        try:
            size = stream.seek(0, io.SEEK_END)
            self._archive = ZipFile(stream)
        except _DAMAGE as error:
            raise ArchiveError(f"not a readable ZIP archive: {error}") from error
        if sum(member.compress_size for member in self._archive.infolist()) > size:
            raise ArchiveError("not a readable ZIP archive: its members overlap")

    def members(self) -> Iterator[tuple[ZipInfo, str]]:
        """Every member that is no folder, and why it cannot be read; empty where it can."""
        for member in self._archive.infolist():
            if not member.is_dir():
                yield member, _refusal(member)

    def open(self, member: ZipInfo | None) -> BinaryIO:
        """A member for reading bytes.

        Raises:
            ArchiveError: it does not lie where the table of contents says.
        """
        assert member is not None  # a file of an archive has one
        try:
            return cast(BinaryIO, _Member(self._archive.open(member)))
        except _DAMAGE as error:
            raise ArchiveError(f"the member cannot be opened: {error}") from error


def _refusal(member: ZipInfo) -> str:
    parts = member.filename.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        return "a member whose name leads out of its archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link in an archive"
    if member.flag_bits & 1:
        return "an encrypted member of an archive"
    if member.compress_type not in METHODS:
        return f"a member compressed by method {member.compress_type} of ZIP, which is not read"
    return ""


class _Member(io.RawIOBase):
    """A member's bytes; what is wrong with them is an OSError, given where the sound ones end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        found = bytearray()
        while self._error is None and (size < 0 or len(found) < size):
            try:
                piece = self._stream.read(STEP_BYTES if size < 0 else min(STEP_BYTES, size - len(found)))
            except _DAMAGE as error:
                self._error = OSError(f"damaged member: {error}")
                break
            if not piece:
                return bytes(found)
            found += piece
        if self._error is not None and not found:
            raise self._error
        return bytes(found)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        self._error = None
        try:
            return self._stream.seek(place, whence)
        except _DAMAGE as error:
            self._error = OSError(f"damaged member: {error}")
            return place

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        super().close()
