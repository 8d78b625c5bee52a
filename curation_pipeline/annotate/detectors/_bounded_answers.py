"""Answers of services are read, and unpacked, to a limit: what sends more must not fill this machine's memory."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

MAX_ANSWER = 8_000_000
"""Bytes of an answer that are read, unpacked."""
PACKED = ("gzip", "deflate")
HEADERS = {"Accept-Encoding": ", ".join(PACKED)}
"""What a client asks for, so that it gets nothing that could not be unpacked to a limit."""


def bounded(library: Any) -> Callable[[Any], Awaitable[None]]:
    """A hook for the responses of a client, of ``httpx`` or of ``httpx2``.

    Reading a response then raises the library's ``DecodingError`` behind `MAX_ANSWER` bytes, or where it is packed in a
    way that was not asked for.
    """

    class Bounded(library.AsyncByteStream):  # type: ignore[misc]  # of the client's own library
        """The unpacked bytes of an answer."""

        def __init__(self, stream: Any, encoding: str) -> None:
            self._stream, self._unpack, self._size = stream, _unpacker(encoding), 0

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in self._stream:
                try:
                    unpacked = self._unpack(part, MAX_ANSWER + 1 - self._size)
                except zlib.error as error:
                    raise library.DecodingError(str(error)) from error
                self._size += len(unpacked)
                if self._size > MAX_ANSWER:
                    raise library.DecodingError(f"the answer is longer than {MAX_ANSWER} bytes")
                yield unpacked

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def hook(response: Any) -> None:
        response.stream = Bounded(response.stream, response.headers.pop("content-encoding", ""))

    return hook


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What unpacks the parts of an answer, each to so many bytes at the most."""
    kind = encoding.strip().lower().removeprefix("x-")
    machine: Any = None

    def unpack(part: bytes, most: int) -> bytes:
        nonlocal machine
        if kind not in ("", "identity", *PACKED):
            raise zlib.error(f"the answer is packed with {kind[:40]!r}, which was not asked for")
        if kind not in PACKED or not part:
            return part
        # Some servers send deflate without the bytes that zlib begins with.
        machine = machine or zlib.decompressobj(-15 if kind == "deflate" and part[0] & 15 != 8 else 47)
        return bytes(machine.decompress(part, most))

    return unpack
