"""One file of a source, in a folder of this machine, under a prefix of a bucket or in an archive of either."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import ZipInfo

from curation_pipeline.corpus.archives import Archive, ArchiveError
from curation_pipeline.datasets.packages import file_sha256
from curation_pipeline.errors import ConfigError, DataError, LakeError
from curation_pipeline.lake.bucket import Bucket, Entry
from curation_pipeline.names import partition_value

LOOSE_FILES = "all"
"""The snapshot of files that lie in the source's folder itself."""

HASH_BYTES = 8 * 1024 * 1024
READ_BYTES = 4 * 1024 * 1024
"""What is asked of a bucket at once, at least."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: its path below the source's folder, separated by ``/``; of a member, the archive's path and its own.
        place: where it lies: a local path without links, or its address in a bucket.
        bucket: None for a local file.
        entry: what the bucket says of it; None for a local file.
        archive: name of the archive that it is a member of; empty for any other file.
        member: which member.
        span: first byte and the one behind the last, where only a part of the file is meant.
    """

    name: str
    place: str
    bucket: Bucket | None = None
    entry: Entry | None = None
    archive: str = ""
    member: ZipInfo | None = None
    span: tuple[int, int] | None = None

    @property
    def n_bytes(self) -> int:
        """Stored bytes of the delivered file; 0 where it cannot be read."""
        if self.entry is not None:
            return self.entry.n_bytes
        try:
            return Path(self.place).stat().st_size
        except OSError:
            return 0

    @property
    def delivered(self) -> str:
        """The name of the file that was delivered: of a member, its archive's."""
        return self.archive or self.name

    @property
    def snapshot(self) -> str:
        """The delivery that it belongs to."""
        first, bar, _ = self.delivered.partition("/")
        return partition_value(first) if bar and first else LOOSE_FILES

    def open(self) -> BinaryIO:
        """The delivered file for reading bytes, able to seek; of one with a span, what is in it.

        Raises:
            DataError: a file in a bucket cannot be opened.
            OSError: a local file cannot be opened, or is no regular file any more.
        """
        if self.bucket is None or self.entry is None:
            # Whatever has taken the file's place since it was listed: a link is not followed, a pipe not waited for.
            handle = os.open(self.place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise OSError(errno.EINVAL, "no regular file")
            stream: BinaryIO = os.fdopen(handle, "rb")
        else:
            stream = cast(BinaryIO, io.BufferedReader(_RemoteFile(self.bucket, self.entry), READ_BYTES))
        return stream if self.span is None else cast(BinaryIO, io.BufferedReader(_Span(stream, *self.span)))

    def sha256(self, cache: Path) -> str:
        """The sha256 of the delivered file; of one in a bucket it is remembered for its ETag in ``cache``.

        A local file that cannot be read has the reason instead: it is another delivery once it can.
        """
        if self.entry is None:
            try:
                return file_sha256(Path(self.place))
            except OSError as error:
                return f"unreadable: {error.strerror}"
        key = hashlib.sha256(f"{self.place}\n{self.entry.etag}".encode()).hexdigest()
        known = cache / "source-hashes" / f"{key}.json"
        if known.is_file():
            return str(json.loads(known.read_bytes())["sha256"])
        digest = hashlib.sha256()
        with self.open() as stream:
            while data := stream.read(HASH_BYTES):
                digest.update(data)
        known.parent.mkdir(parents=True, exist_ok=True)
        temporary = known.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"file": self.place, "etag": self.entry.etag, "sha256": digest.hexdigest()}))
        temporary.replace(known)
        return digest.hexdigest()


@contextmanager
def remote() -> Iterator[None]:
    """Turns what goes wrong on the way to a bucket into a DataError: it says nothing about the file's content."""
    try:
        yield
    except (ConfigError, LakeError) as error:
        raise DataError(str(error)) from error


class _Span(io.RawIOBase):
    """A part of a file, read from its beginning to its end."""

    def __init__(self, stream: BinaryIO, begin: int, end: int) -> None:
        self._stream, self._left = stream, end - begin
        stream.seek(begin)

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()


class _RemoteFile(io.RawIOBase):
    """A file in a bucket. A failing connection ends the ingest, so that it is never taken for a damaged file."""

    def __init__(self, bucket: Bucket, entry: Entry) -> None:
        self._bucket, self._entry, self._place = bucket, entry, 0

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._entry.n_bytes - self._place)
        if size <= 0:
            return 0
        with remote():
            data = self._bucket.part(self._entry.path, self._place, size, self._entry.etag)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._entry.n_bytes}[whence]
        self._place = max(0, begin + place)
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def opened(files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, BinaryIO | None, str]]:
    """Each file, open for reading bytes, or why it cannot be opened. An archive is opened once for all its members.

    Raises:
        DataError: a bucket cannot be read.
    """
    for _, group in itertools.groupby(files, key=lambda file: (file.place, file.span)):
        members = list(group)
        try:
            stream = members[0].open()
        except OSError as error:
            for file in members:
                yield file, None, f"the file cannot be opened: {error.strerror or error}"
            continue
        with stream:
            if not members[0].archive:
                yield members[0], stream, ""
                continue
            try:
                archive = Archive(stream)
            except ArchiveError as error:
                for file in members:
                    yield file, None, str(error)
                continue
            for file in members:
                try:
                    member = archive.open(file.member)
                except ArchiveError as error:
                    yield file, None, str(error)
                    continue
                with member:
                    yield file, member, ""
