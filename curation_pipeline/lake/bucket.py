"""A bucket of S3, Google Cloud Storage or Azure: what fails is tried again, or told in one clear message."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from curation_pipeline.errors import ConfigError, LakeError

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

SCHEMES = ("s3://", "gs://", "az://")
PIECE_BYTES = 16 * 2**20
"""Most bytes of one request for a part of a file: what a broken connection costs."""
MOST_PARTS = 5_000  # S3 allows 10,000 parts of an upload
UPLOADS_AT_ONCE = 4
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try of an operation, whose requests the library has tried again already."""
_RETRIES = {"max_retries": 4, "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2)}}
_TIMEOUTS = {"connect_timeout": timedelta(seconds=10), "read_timeout": timedelta(seconds=60), "timeout": "10m"}

_STATUS, _CODE = re.compile(r"status code: (\d{3})"), re.compile(r"(?:<Code>|\(code: )(\w+)")
_PASSING = ("408", "425", "429")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")
_NO_RIGHT = ("AccessDenied", "AuthorizationFailure", "AuthorizationPermissionMismatch")
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def is_bucket(address: object) -> bool:
    """Whether an address is that of a bucket."""
    return str(address).startswith(SCHEMES)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a bucket.

    Attributes:
        path: below the bucket's prefix.
        n_bytes: its size.
        modified: seconds since 1970.
        etag: what the service says identifies its content.
        version: what Google Cloud Storage says identifies it, instead.
    """

    path: str
    n_bytes: int
    modified: float
    etag: str
    version: str

    @property
    def mode(self) -> PutMode:
        """What to give to `Bucket.put` to replace just this object."""
        return {"e_tag": self.etag, "version": self.version} if self.version else {"e_tag": self.etag}


class Bucket:
    """The objects under a prefix of a bucket.

    The library (obstore) repeats requests that the service answers with 5xx, and connections that fail before anything
    is sent. Here whole operations are repeated, also those whose answer was lost: each of them may be done twice.

    All methods raise a ConfigError where the bucket, the credentials or their rights are missing, and a LakeError where
    the service cannot be reached.
    """

    def __init__(self, url: str, endpoint_url: str | None = None, anonymous: bool = False) -> None:
        """Find the credentials; nothing is asked of the service yet.

        Those of S3 are what every AWS program finds (variables, a profile, the machine's role); those of the others
        come from their own variables, or the machine's identity.

        Args:
            url: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
            endpoint_url: address of an S3 service other than AWS; that of ``AWS_ENDPOINT_URL`` where None.
            anonymous: use no credentials, for a public bucket.

        Raises:
            ConfigError: there are no credentials.
        """
        self.url, self.endpoint_url, self.anonymous = url.rstrip("/"), endpoint_url, anonymous
        self._store = _open(self.url, endpoint_url, anonymous)

    def __reduce__(self) -> tuple[type[Bucket], tuple[str, str | None, bool]]:
        """Another process finds the credentials for itself: they are never pickled."""
        return Bucket, (self.url, self.endpoint_url, self.anonymous)

    def get(self, path: str) -> tuple[bytes, Entry] | None:
        """A whole object, or None where there is none."""
        import obstore

        def get() -> tuple[bytes, Entry]:
            found = obstore.get(self._store, path)
            return bytes(found.bytes()), _entry(found.meta)

        return self._tried(path, get)

    def entry(self, path: str) -> Entry | None:
        """What the service says of an object, or None where there is none."""
        import obstore

        return self._tried(path, lambda: _entry(obstore.head(self._store, path)))

    def part(self, path: str, start: int, n_bytes: int, etag: str = "") -> bytes:
        """Some bytes of an object that is there.

        Args:
            path: of the object.
            start: first byte.
            n_bytes: how many, at least 1; the object's end ends them.
            etag: what the object must have; anything where empty.

        Raises:
            LakeError: it is gone, or another object has taken its place.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        options: dict[str, Any] = {"range": (start, start + n_bytes)}
        if etag:
            options["if_match"] = etag
        try:
            found = self._tried(path, lambda: bytes(obstore.get(self._store, path, options=options).bytes()))  # type: ignore[arg-type]
        except PreconditionError as error:
            raise LakeError(f"{self.url}/{path} has been replaced while it was read; run again") from error
        if found is None:
            raise LakeError(f"{self.url}/{path} is missing; restore it from a backup")
        return found

    def put(self, path: str, data: bytes | Path, mode: PutMode = "overwrite") -> None:
        """Write an object whole; a large file goes in parts.

        Args:
            path: of the object.
            data: its content, or the file that holds it.
            mode: ``overwrite``, ``create`` (there must be none) or the mode of the entry to replace.

        Raises:
            AlreadyExistsError: of obstore, where there is one that must not be; it may come of this very call, if the
                answer to its first try was lost.
            PreconditionError: of obstore, where another one is there.
        """
        import obstore

        part = max(8 * 2**20, -(-data.stat().st_size // MOST_PARTS)) if isinstance(data, Path) else PIECE_BYTES

        def put() -> bool:
            obstore.put(
                self._store, path, data, mode=mode, chunk_size=part, max_concurrency=UPLOADS_AT_ONCE,
                use_multipart=isinstance(data, Path) and data.stat().st_size > part,
            )  # fmt: skip
            return True

        if not self._tried(path, put):  # a service that makes no bucket says so with what it says of a missing object
            raise ConfigError(f"{self.url}: there is no such bucket; make it, or correct the address")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object below a prefix, which is a folder's path, in order of path."""
        import obstore

        def entries() -> list[Entry]:
            return [_entry(meta) for page in obstore.list(self._store, prefix or None) for meta in page]

        yield from sorted(self._tried(prefix, entries) or (), key=lambda entry: entry.path)

    def delete(self, path: str) -> None:
        """Remove an object if it exists."""
        import obstore

        self._tried(path, lambda: obstore.delete(self._store, path))

    def _tried(self, path: str, ask: Callable[[], Result]) -> Result | None:
        """What a request gives, tried again where that can help; None where there is no such object."""
        from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError, PreconditionError

        for pause in (*PAUSES, None):
            try:
                return ask()
            except (AlreadyExistsError, PreconditionError):
                raise
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise ConfigError(self._problem(path, error)) from error
                return None
            except InvalidPathError as error:
                raise LakeError(
                    f"{self.url}: a key with an empty part, `.` or `..` cannot be read ({_first_line(error)}); "
                    "copy or move that object to another key"
                ) from error
            except (BaseError, OSError) as error:
                status, code = _answer(error)
                if (status.startswith(("3", "4")) and status not in _PASSING) or code in _NO_RIGHT:
                    raise ConfigError(self._problem(path, error)) from error
                if pause is None:
                    raise LakeError(self._problem(path, error)) from error
                logger.info("%s/%s: %s; tried again in %.1f s", self.url, path, _first_line(error), pause)
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _problem(self, path: str, error: Exception) -> str:
        """What went wrong, where, and what to do."""
        said = str(error)
        status, code = _answer(error)
        if _NO_BUCKET.search(said):
            return f"{self.url}: there is no such bucket; make it, or correct the address"
        if code in _NO_RIGHT:
            right = "read" if "GET" in said or "HEAD" in said else "write"
            return f"{self.url}/{path}: the credentials give no right to {right} here; grant it, or give others"
        if status in ("401", "403"):
            keys = _KEYS[self.url.partition("://")[0]]
            return f"{self.url}: the service refuses the credentials ({code or status}); check {keys}"
        where = f" at {self.endpoint_url}" if self.endpoint_url else ""
        return (
            f"{self.url}/{path}: the bucket{where} cannot be used ({code or _first_line(error)}); "
            "check the address and the network, then run again: finished work is kept"
        )


def _open(url: str, endpoint_url: str | None, anonymous: bool) -> ObjectStore:
    from obstore.store import from_url

    # Each service's own address has TLS; that of another one is what the user writes.
    options: dict[str, Any] = {"client_options": {**_TIMEOUTS, "allow_http": True}, "retry_config": _RETRIES}
    if url.startswith("s3://"):
        endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint_url:
            options["endpoint"] = endpoint_url
        options |= {"skip_signature": True} if anonymous else {"credential_provider": _aws_credentials(url)}
    elif anonymous:
        options["skip_signature"] = True
    try:
        return from_url(url, **options)
    except Exception as error:  # the library's own errors of an address or of variables have no common class
        raise ConfigError(f"{url}: {_first_line(error)}; check {_KEYS[url.partition('://')[0]]}") from error


def _aws_credentials(url: str) -> Any:
    """What boto3 finds, so that it is what every AWS program of this machine uses, and is renewed as that says."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except (ValueError, BotoCoreError) as error:
        raise ConfigError(f"{url}: no credentials ({error}); set {_KEYS['s3']}") from error


def _entry(meta: Any) -> Entry:
    return Entry(
        meta["path"], meta["size"], meta["last_modified"].timestamp(), meta["e_tag"] or "", meta["version"] or ""
    )


def _answer(error: Exception) -> tuple[str, str]:
    """Status and code of the service's last answer, empty where there was none; the library has them as text only."""
    status, code = (found[-1] if (found := each.findall(str(error))) else "" for each in (_STATUS, _CODE))
    return status, code


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
