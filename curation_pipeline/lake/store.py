"""Where the bytes of a lake are: a local folder, or a bucket with a prefix.

Two operations carry the lake's promises: ``put_if_absent`` commits (exactly one of several writers succeeds), and
``replace`` moves a pointer (a reader sees the old bytes or the new, never a mixture).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from curation_pipeline.errors import ConfigError, LakeError
from curation_pipeline.extras import extra


class Store(Protocol):
    """Bytes under relative paths, separated by ``/``."""

    @property
    def root(self) -> str:
        """The root as a person would write it."""
        ...

    def read(self, path: str) -> bytes | None:
        """The bytes at ``path``, or None where there are none."""
        ...

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write ``data`` and return True, or return False and change nothing where ``path`` exists."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write ``data`` whole, whether or not ``path`` exists."""
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


class S3Store:
    """A prefix of an S3 bucket; local copies of immutable files are kept in a cache folder."""

    def __init__(self, root: str, cache: Path, endpoint_url: str | None = None) -> None:
        """Connect; nothing is read or written yet.

        Args:
            root: ``s3://bucket/prefix`` of a service that honours ``If-None-Match`` on PUT.
            cache: a local folder for copies of immutable files.
            endpoint_url: address of a service other than AWS.
        """
        with extra("s3", "a lake on S3"):
            import s3fs

        self.root, self.cache = root.rstrip("/"), cache
        self._base = self.root.removeprefix("s3://")
        self._files = s3fs.S3FileSystem(endpoint_url=endpoint_url, use_listings_cache=False, skip_instance_cache=True)

    def read(self, path: str) -> bytes | None:
        """The bytes, or None where there are none."""
        try:
            return bytes(self._files.cat_file(f"{self._base}/{path}"))
        except FileNotFoundError:
            return None

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """A PUT with ``If-None-Match: *``."""
        try:
            self._files.pipe_file(f"{self._base}/{path}", data, mode="create")
        except OSError as error:
            answer = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {})
            if answer.get("HTTPStatusCode") in (409, 412):  # another writer is there at this moment, or has been
                return False
            raise
        return True

    def replace(self, path: str, data: bytes) -> None:
        """PUT is atomic."""
        self._files.pipe_file(f"{self._base}/{path}", data)

    def upload(self, local: Path, path: str) -> None:
        """Large files go in parts."""
        self._files.put_file(str(local), f"{self._base}/{path}")

    def fetch(self, path: str) -> Path:
        """Downloaded once, since files under a manifest never change."""
        target = self.cache / self._base / path
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
            try:
                self._files.get_file(f"{self._base}/{path}", str(temporary))
            except OSError as error:
                raise LakeError(f"{self.root}/{path} cannot be read ({error}); check the bucket's contents") from error
            temporary.replace(target)
        return target

    def list(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Path and modification time of each file."""
        for key, entry in self._files.find(f"{self._base}/{prefix.rstrip('/')}", detail=True).items():
            yield key[len(self._base) + 1 :], entry["LastModified"].timestamp()

    def delete(self, path: str) -> None:
        """Nothing happens where there is no file."""
        with suppress(FileNotFoundError):
            self._files.rm_file(f"{self._base}/{path}")


def open_store(root: str, cache: Path, endpoint_url: str | None = None) -> Store:
    """The store that ``root`` names.

    Args:
        root: a local folder, or ``s3://bucket/prefix``.
        cache: a local folder for copies of remote files.
        endpoint_url: address of an S3 service other than AWS.

    Raises:
        ConfigError: another URL scheme.
    """
    if root.startswith("s3://"):
        return S3Store(root, cache, endpoint_url)
    if "://" in root:
        raise ConfigError(f"lake root {root!r}: give a local folder or s3://bucket/prefix")
    return LocalStore(Path(root).expanduser())
