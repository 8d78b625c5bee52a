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
from typing import TYPE_CHECKING, Protocol

from curation_pipeline.errors import ConfigError, LakeError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


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
        """See `Store.read`."""
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """See `Store.put_if_absent`: a hard link to a complete temporary file, which fails where the name exists."""
        temporary, target = self._temporary(path, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def replace(self, path: str, data: bytes) -> None:
        """See `Store.replace`."""
        temporary, target = self._temporary(path, data)
        temporary.replace(target)

    def upload(self, local: Path, path: str) -> None:
        """See `Store.upload`."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(local, target)
        _to_disk(target)  # the manifest that follows says that the bytes are here: after a power cut, too

    def fetch(self, path: str) -> Path:
        """See `Store.fetch`: the file itself."""
        file = self.folder / path
        if not file.is_file():
            raise LakeError(f"{file} is missing though a manifest lists it; restore it from a backup")
        return file

    def list(self, prefix: str) -> Iterator[tuple[str, float]]:
        """See `Store.list`."""
        base = self.folder / prefix
        for file in sorted(base.rglob("*")) if base.is_dir() else ():
            with suppress(FileNotFoundError):
                if file.is_file():
                    yield file.relative_to(self.folder).as_posix(), file.stat().st_mtime

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
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

    def __init__(self, client: S3Client, bucket: str, prefix: str, cache: Path) -> None:
        """Keep the client; nothing is read or written yet.

        Args:
            client: a boto3 client of a service that honours ``If-None-Match`` on PUT.
            bucket: the bucket's name.
            prefix: the prefix under it, without slashes at its ends.
            cache: a local folder for copies of immutable files.
        """
        self.client, self.bucket, self.prefix, self.cache = client, bucket, prefix.strip("/"), cache

    @property
    def root(self) -> str:
        """The bucket and prefix as a URL."""
        return f"s3://{self.bucket}/{self.prefix}"

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def read(self, path: str) -> bytes | None:
        """See `Store.read`."""
        try:
            data: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(path))["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        return data

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """See `Store.put_if_absent`: a PUT with ``If-None-Match: *``."""
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self._key(path), Body=data, IfNoneMatch="*")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True

    def replace(self, path: str, data: bytes) -> None:
        """See `Store.replace`: PUT is atomic."""
        self.client.put_object(Bucket=self.bucket, Key=self._key(path), Body=data)

    def upload(self, local: Path, path: str) -> None:
        """See `Store.upload`: multipart for large files."""
        self.client.upload_file(str(local), self.bucket, self._key(path))

    def fetch(self, path: str) -> Path:
        """See `Store.fetch`: downloaded once, since files under a manifest never change."""
        target = self.cache / self.bucket / self._key(path)
        if not target.is_file():
            from botocore.exceptions import ClientError

            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
            try:
                self.client.download_file(self.bucket, self._key(path), str(temporary))
            except ClientError as error:
                raise LakeError(f"{self.root}/{path} cannot be read ({error}); check the bucket's contents") from error
            temporary.replace(target)
        return target

    def list(self, prefix: str) -> Iterator[tuple[str, float]]:
        """See `Store.list`."""
        skip = len(self.prefix) + 1 if self.prefix else 0
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(prefix.rstrip("/") + "/")
        ):
            for entry in page.get("Contents", []):
                yield entry["Key"][skip:], entry["LastModified"].timestamp()

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        self.client.delete_object(Bucket=self.bucket, Key=self._key(path))


def open_store(root: str, cache: Path, client: S3Client | None = None) -> Store:
    """The store that ``root`` names.

    Args:
        root: a local folder, or ``s3://bucket/prefix``.
        cache: a local folder for copies of remote files.
        client: the S3 client to use; made from the environment's credentials where it is None.

    Raises:
        ConfigError: another URL scheme.
    """
    if not root.startswith("s3://"):
        if "://" in root:
            raise ConfigError(f"lake root {root!r}: give a local folder or s3://bucket/prefix")
        return LocalStore(Path(root).expanduser())
    if client is None:
        import boto3

        client = boto3.client("s3")
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    return S3Store(client, bucket, prefix, cache)
