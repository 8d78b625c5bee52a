"""Files of a source, in a folder of this machine or under a prefix of a bucket."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from curation_pipeline.corpus.readers import reader_for
from curation_pipeline.corpus.settings import FolderSource
from curation_pipeline.datasets.packages import file_sha256
from curation_pipeline.errors import DataError

LOOSE_FILES = "all"
"""The snapshot of files that lie in the source's folder itself."""

HASH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: its path below the source's folder, separated by ``/``.
        place: where it lies: a local path, or bucket and key.
        system: the fsspec file system of a bucket, or None for a local file.
        etag: what the bucket says identifies its content; empty for a local file.
    """

    name: str
    place: str
    system: Any = None
    etag: str = ""

    def open(self) -> BinaryIO:
        """The file for reading bytes, able to seek.

        Raises:
            DataError: a file in a bucket cannot be opened.
            OSError: a local file cannot be opened.
        """
        if self.system is None:
            return Path(self.place).open("rb")
        with _Remote(self.place):
            return cast(BinaryIO, _RemoteFile(self.system.open(self.place, "rb"), self.place))

    def sha256(self, cache: Path) -> str:
        """The sha256 of the content; of a file in a bucket it is remembered for its ETag in ``cache``."""
        if self.system is None:
            return file_sha256(Path(self.place))
        key = hashlib.sha256(f"{self.place}\n{self.etag}".encode()).hexdigest()
        known = cache / "source-hashes" / f"{key}.json"
        if known.is_file():
            return str(json.loads(known.read_bytes())["sha256"])
        digest = hashlib.sha256()
        with self.open() as stream:
            while data := stream.read(HASH_BYTES):
                digest.update(data)
        known.parent.mkdir(parents=True, exist_ok=True)
        temporary = known.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"file": self.place, "etag": self.etag, "sha256": digest.hexdigest()}))
        temporary.replace(known)
        return digest.hexdigest()


class _Remote:
    """Turns what goes wrong on the way to a bucket into a DataError: it says nothing about the file's content."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, OSError | BotoCoreError | ClientError | TimeoutError):
            raise DataError(
                f"s3://{self.place} cannot be read ({type(error).__name__}: {error}); check the bucket, "
                "the credentials of the environment and endpoint_url, then run the partition again"
            ) from error


class _RemoteFile:
    """A file in a bucket. A failing connection ends the ingest, so that it is never taken for a damaged file."""

    def __init__(self, stream: Any, place: str) -> None:
        self._stream = stream
        self._place = place

    def read(self, size: int = -1) -> bytes:
        with _Remote(self._place):
            return bytes(self._stream.read(size))

    def seek(self, place: int, whence: int = 0) -> int:
        return int(self._stream.seek(place, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        return None

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> _RemoteFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def snapshots(source: FolderSource) -> list[str]:
    """Names of a folder's deliveries, sorted.

    Raises:
        DataError: the folder does not exist or holds no file that can be read, or a name cannot be a partition's.
    """
    names = sorted({_snapshot(file.name) for file in _readable(source)})
    odd = [name for name in names if "|" in name]
    if odd:
        raise DataError(f"source {source.name!r}: the snapshot folder {odd[0]!r} has a '|' in its name; rename it")
    if not names:
        wanted = "JSONL, CSV, text, Parquet, Arrow or WARC file"
        hint = "" if source.text_split else " (.txt files are read where text_split is set)"
        raise DataError(f"source {source.name!r}: no {wanted} lies in {source.path}{hint}")
    return names


def _snapshot(name: str) -> str:
    first, bar, _ = name.partition("/")
    return first if bar else LOOSE_FILES


def snapshot_files(source: FolderSource, snapshot: str) -> list[SourceFile]:
    """Readable files of one delivery, sorted by name; hidden ones are left alone."""
    return [file for file in _readable(source, snapshot) if _snapshot(file.name) == snapshot]


def _readable(source: FolderSource, snapshot: str | None = None) -> list[SourceFile]:
    bucket = str(source.path).startswith("s3://")
    every = list(_bucket_files(source, snapshot) if bucket else _local_files(source, snapshot))
    listed = _saved_datasets(every)
    found = [
        file
        for file in every
        if reader_for(file.name, source.text_split)
        and not any(part.startswith(".") for part in file.name.split("/"))
        and (source.include is None or any(fnmatch(PurePosixPath(file.name).name, glob) for glob in source.include))
        and (file.name.rpartition("/")[0] not in listed or file.name in listed[file.name.rpartition("/")[0]])
    ]
    return sorted(found, key=lambda file: file.name)


def _saved_datasets(files: list[SourceFile]) -> dict[str, set[str]]:
    """Folders that ``save_to_disk`` wrote, with the files that belong to the data set: not the caches beside it."""
    found: dict[str, set[str]] = {}
    arrow = {file.name.rpartition("/")[0] for file in files if file.name.endswith(".arrow")}
    for file in files:
        folder, _, last = file.name.rpartition("/")
        if last == "state.json" and folder in arrow:
            with file.open() as stream:
                try:
                    names = [entry["filename"] for entry in json.loads(stream.read())["_data_files"]]
                except (ValueError, KeyError, TypeError):
                    continue  # Not the state of a data set, or a damaged one: every Arrow file is read.
            found[folder] = {f"{folder}/{name}" if folder else name for name in names}
    return found


def _local_files(source: FolderSource, snapshot: str | None) -> Iterator[SourceFile]:
    root = Path(source.path).expanduser()
    if not root.is_dir():
        raise DataError(f"source {source.name!r}: {root} is not a folder; check its path in the profile")
    found = root.rglob("*") if snapshot is None else (root / snapshot).rglob("*")
    for path in itertools.chain(found, root.glob("*") if snapshot == LOOSE_FILES else ()):
        if path.is_file():
            yield SourceFile(path.relative_to(root).as_posix(), str(path))


def _bucket_files(source: FolderSource, snapshot: str | None) -> Iterator[SourceFile]:
    import s3fs

    root = str(source.path).removeprefix("s3://").strip("/")
    client = {"endpoint_url": source.endpoint_url} if source.endpoint_url else {}
    system = s3fs.S3FileSystem(
        anon=source.anonymous, client_kwargs=client, use_listings_cache=False, skip_instance_cache=True
    )
    with _Remote(root):
        below = root if snapshot in (None, LOOSE_FILES) else f"{root}/{snapshot}"
        entries = system.find(below, detail=True)
    if not entries:
        raise DataError(f"source {source.name!r}: nothing lies under s3://{below}; check its path in the profile")
    for key, entry in entries.items():
        if entry["type"] == "file" and not key.endswith("/"):
            yield SourceFile(key[len(root) + 1 :], key, system, str(entry.get("ETag", "")))
