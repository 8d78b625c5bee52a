"""Where the bytes of a lake are: a local folder, or a bucket with a prefix.

Two operations carry the lake's promises: ``put_if_absent`` commits (exactly one of several writers succeeds), and
``update`` moves a pointer (what several writers add is all there, and a reader sees old bytes or new, never a mixture).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from curation_pipeline.errors import ConfigError, LakeError
from curation_pipeline.lake.bucket import PIECE_BYTES, Bucket, is_bucket
from curation_pipeline.lake.cache import Cache
from curation_pipeline.lake.lock import lock

READERS = 16
CACHE_BYTES = 50 * 10**9
CONTENDERS = 20
"""How often another writer may come first."""


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store(Protocol):
    """Bytes under relative paths, separated by ``/``."""

    @property
    def root(self) -> str:
        """The root as a person would write it."""
        ...

    def read(self, path: str) -> bytes | None:
        """The bytes at ``path``, or None where there are none."""
        ...

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """What `read` gives for each of many paths, in their order."""
        ...

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write ``data`` and return True, or return False and change nothing where ``path`` exists."""
        ...

    def update(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the bytes at ``path`` by what ``change`` makes of them, and lose nothing of another writer's.

        Args:
            path: of the file.
            change: is given the bytes, None where there are none; it may be called again.
        """
        ...

    def upload(self, local: Path, path: str) -> None:
        """Bring a local file, which may be moved, to ``path``."""
        ...

    def fetch(self, path: str) -> Path:
        """A local copy of the file at ``path``.

        Raises:
            LakeError: there is none.
        """
        ...

    def sha256(self, path: str) -> str:
        """The sha256 of the file at ``path``, in hexadecimal.

        Raises:
            LakeError: there is none.
        """
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Path and modification time (seconds since 1970) of each file under ``prefix``."""
        ...

    def delete(self, path: str) -> None:
        """Remove the file at ``path`` if it exists."""
        ...


class LocalStore:
    """A folder on this machine's file system."""

    def __init__(self, root: Path) -> None:
        """Make the folder if it does not exist.

        Args:
            root: the folder.
        """
        self.folder = root.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def root(self) -> str:
        """The folder."""
        return str(self.folder)

    def _temporary(self, path: str, data: bytes) -> tuple[Path, Path]:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            temporary.write_bytes(data)
            _to_disk(temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary, target

    def read(self, path: str) -> bytes | None:
        """The bytes, or None where there are none."""
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """One after the other."""
        return map(self.read, paths)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """A hard link to a complete temporary file, which fails where the name exists."""
        temporary, target = self._temporary(path, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def replace(self, path: str, data: bytes) -> None:
        """A complete temporary file takes the place of the old one."""
        temporary, target = self._temporary(path, data)
        temporary.replace(target)

    def update(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Under a lock, which is held in no time: nobody is told of waiting."""
        with lock(self.folder / ".update.lock", "another process", lambda holder, waited: None):
            before = self.read(path)
            after = change(before)
            if after != before:
                self.replace(path, after)

    def upload(self, local: Path, path: str) -> None:
        """The file is moved, and on the disk afterwards."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(local, target)
        _to_disk(target)  # the manifest that follows says that the bytes are here: after a power cut, too

    def fetch(self, path: str) -> Path:
        """The file itself."""
        file = self.folder / path
        if not file.is_file():
            raise LakeError(f"{file} is missing though a manifest lists it; restore it from a backup")
        return file

    def sha256(self, path: str) -> str:
        """Of the file."""
        return file_sha256(self.fetch(path))

    def list(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Path and modification time of each file."""
        base = self.folder / prefix
        for file in sorted(base.rglob("*")) if base.is_dir() else ():
            with suppress(FileNotFoundError):
                if file.is_file():
                    yield file.relative_to(self.folder).as_posix(), file.stat().st_mtime

    def delete(self, path: str) -> None:
        """Nothing happens where there is no file."""
        (self.folder / path).unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Have the system write a file's bytes to the disk before going on; it keeps the order of names by itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BucketStore:
    """A prefix of a bucket; local copies of its immutable files are kept in a cache."""

    def __init__(self, bucket: Bucket, cache: Cache) -> None:
        """Keep both; nothing is read or written yet.

        Args:
            bucket: of a service that honours ``If-None-Match`` and ``If-Match`` on PUT.
            cache: of this machine.
        """
        self._bucket, self._cache = bucket, cache
        self._name = bucket.url.replace("://", "/")  # of the copies: another lake may share the cache

    @property
    def root(self) -> str:
        """The bucket and the prefix."""
        return self._bucket.url

    def read(self, path: str) -> bytes | None:
        """The bytes, or None where there are none."""
        found = self._bucket.get(path)
        return None if found is None else found[0]

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """Many at once, since each waits for the network."""
        with ThreadPoolExecutor(READERS) as readers:
            yield from readers.map(self.read, paths)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """A PUT that must create. One whose answer was lost is repeated and refused, and then finds its own bytes."""
        from obstore.exceptions import AlreadyExistsError

        for _ in range(CONTENDERS):
            try:
                self._bucket.put(path, data, "create")
            except AlreadyExistsError:
                if (found := self.read(path)) is not None:
                    return found == data
                # Another writer was there at this moment, and has written nothing: only one of both may go on.
            else:
                return True
        raise LakeError(f"{self.root}/{path} exists and cannot be read; run again")

    def update(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """A PUT that must replace what was read; where another one came first, it is read again."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        for _ in range(CONTENDERS):
            found = self._bucket.get(path)
            before, entry = found or (None, None)
            after = change(before)
            if after == before:
                return
            with suppress(AlreadyExistsError, PreconditionError):
                self._bucket.put(path, after, "create" if entry is None else entry.mode)
                return
        raise LakeError(f"{self.root}/{path}: {CONTENDERS} other writers came first; run again")

    def upload(self, local: Path, path: str) -> None:
        """Large files go in parts; the local file becomes the copy."""
        self._bucket.put(path, local)
        self._cache.add(f"{self._name}/{path}", local)

    def fetch(self, path: str) -> Path:
        """Downloaded once, since files under a manifest never change."""
        return self._cache.path(f"{self._name}/{path}", lambda target: self._download(path, target))

    def _download(self, path: str, target: Path) -> None:
        with target.open("wb") as stream:
            for piece in self._pieces(path):
                stream.write(piece)

    def _pieces(self, path: str) -> Iterator[bytes]:
        entry = self._bucket.entry(path)
        if entry is None:
            raise LakeError(f"{self.root}/{path} is missing though a manifest lists it; restore it from a backup")
        for start in range(0, entry.n_bytes, PIECE_BYTES):
            yield self._bucket.part(path, start, min(PIECE_BYTES, entry.n_bytes - start), entry.etag)

    def sha256(self, path: str) -> str:
        """Of what is in the bucket, whatever the copy says."""
        digest = hashlib.sha256()
        for piece in self._pieces(path):
            digest.update(piece)
        return digest.hexdigest()

    def list(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Path and modification time of each file."""
        return ((entry.path, entry.modified) for entry in self._bucket.list(prefix))

    def delete(self, path: str) -> None:
        """Nothing happens where there is no file."""
        self._bucket.delete(path)
        self._cache.remove(f"{self._name}/{path}")


def open_store(root: str, work: Path, endpoint_url: str | None = None, cache_bytes: int = CACHE_BYTES) -> Store:
    """The store that ``root`` names.

    Args:
        root: a local folder, or ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        work: a local folder for work in the making, and for copies of remote files.
        endpoint_url: address of an S3 service other than AWS.
        cache_bytes: size that those copies may have.

    Raises:
        ConfigError: another URL scheme, or no credentials.
    """
    if is_bucket(root):
        return BucketStore(Bucket(root, endpoint_url), Cache(work, cache_bytes))
    if "://" in root:
        raise ConfigError(f"lake root {root!r}: give a local folder, s3://bucket/prefix, gs://... or az://...")
    return LocalStore(Path(root).expanduser())
