"""Files in a folder of this machine or under a prefix of a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import polars as pl
from pydantic import BeforeValidator, Field

from curation_pipeline.corpus.files import SourceFile, opened
from curation_pipeline.corpus.listing import Listing, listing
from curation_pipeline.corpus.readers import file_readers, reader_for
from curation_pipeline.corpus.rows import FAILURES_SCHEMA, ROWS_SCHEMA, Batch
from curation_pipeline.corpus.source import FileSettings, Size
from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.errors import DataError
from curation_pipeline.settings import Address, combined

SAMPLED_FILES = 5
SAMPLED_ROWS = 2_000
"""What `size` looks at, of each snapshot and of each file; Parquet and Arrow files are read whole."""

if TYPE_CHECKING:
    Formats = FileSettings
else:
    Formats = combined("Formats", FileSettings, (reader.settings for reader in file_readers().values()))
"""The settings of all formats."""


class FolderSource(Formats):
    """Files in a folder of this machine or under a prefix of a bucket, their format told by their suffix.

    JSON, JSONL, CSV, TSV, plain text, Parquet, Arrow (what ``save_to_disk`` of Hugging Face ``datasets`` writes), WARC
    and WET; each of them plain, ``.gz``, ``.zst``, ``.bz2``, ``.xz`` or a member of a ``.zip``. Every subfolder is a
    snapshot of its name; files that lie in the folder itself are the snapshot "all". What is left alone is counted and
    named with its reason.
    """

    kind: Literal["folder"] = "folder"
    path: Annotated[Address, BeforeValidator(os.fspath)] = Field(
        description="the folder, or s3://, gs:// or az://bucket/prefix"
    )
    endpoint_url: Address | None = Field(
        default=None, pattern=r"^https?://", description="address of an S3 service other than AWS"
    )
    anonymous: bool = Field(default=False, description="read a public bucket without credentials")
    include: tuple[str, ...] | None = Field(
        default=None, description="only files whose name matches one of these patterns, e.g. ['*.csv']"
    )
    outside_links: bool = Field(
        default=False,
        description="follow symbolic links that lead out of the folder; those that stay within are always followed",
    )

    def listing(self) -> Listing:
        """Everything in the folder or the bucket, read or left alone."""
        return listing(self)

    def partitions(self, cache: Path) -> list[str]:
        """The subfolders that hold a file that can be read, and "all" where files lie in the folder itself."""
        found = self.listing()
        if not found.files:
            told = "".join(f"; {line}" for line in found.told())
            known = ", ".join(sorted(file_readers()))
            raise DataError(f"source {self.name!r}: no file that can be read lies in {self.path} ({known}){told}")
        return found.snapshots

    def fingerprint(self, snapshot: str, cache: Path) -> dict[str, str]:
        """The sha256 of each file; one in a bucket is read for it once and remembered for its ETag in ``cache``."""
        files = {file.delivered: file for file in self.listing().of(snapshot).files}
        return {name: file.sha256(cache) for name, file in files.items()}

    def size(self, snapshot: str, cache: Path) -> Size:
        """Estimated from the sizes of all files and the first rows of some of them, evenly over their names.

        Raises:
            DataError: a bucket cannot be read, or no file of the sample has a row.
        """
        files = self.listing().of(snapshot).files
        sample = tuple(
            files[place] for place in sorted({len(files) * i // SAMPLED_FILES for i in range(SAMPLED_FILES)})
        )
        found, behind = Size(), 0.0
        for file, stream, _ in opened(sample):
            if stream is not None:
                size, stored = self._first_rows(file, stream)
                found, behind = found + size, behind + stored
        if not found.documents:
            names = ", ".join(file.name for file in sample)
            raise DataError(f"source {self.name!r}: none of {names} begins with a row that can be read")
        return found * (sum(map(_stored_bytes, files)) / behind)

    def _first_rows(self, file: SourceFile, stream: BinaryIO) -> tuple[Size, float]:
        """The size of a file's first rows, and how many of its stored bytes they take."""
        reader = reader_for(file.name)
        assert reader is not None  # it is listed as one that is read
        size = Size()
        for batch in reader.batches(stream, file.name, self, None):
            size += self.size_of(batch)
            if size.documents >= SAMPLED_ROWS and reader.takes != "file":
                return size, min(max(stream.tell(), 1), _stored_bytes(file))
        return size, _stored_bytes(file)

    def batches(self, snapshot: str, found: Listing, cache: Path) -> Iterator[tuple[str, Batch]]:
        """The rows of all files, in order of name.

        Raises:
            DataError: a bucket cannot be read, or the settings of a format do not do for a file.
        """
        meters: dict[str, Meter] = {}
        for file, stream, problem in opened(found.files):
            reader = reader_for(file.name)
            if stream is None or reader is None:
                row = {"position": 0, "offset": 0, "excerpt": "", "reason": problem}
                yield file.name, Batch(pl.DataFrame(schema=ROWS_SCHEMA), pl.DataFrame([row], schema=FAILURES_SCHEMA))
                continue
            meter = None
            if file.member is not None:
                # One archive has one limit, however many members it spreads its bytes over.
                meter = meters.setdefault(file.place, self.meter())
                meter.share = min(1.0, file.member.compress_size / max(1, file.member.file_size))
            try:
                inside = file.span is not None and file.span[0] > 0
                for batch in reader.batches(stream, file.name, self, meter, inside):
                    yield file.name, batch
            except DataError as error:
                raise DataError(f"source {self.name!r}, file {file.name!r}: {error}") from error


def _stored_bytes(file: SourceFile) -> int:
    """Bytes of a file; of a member of an archive, those that it unpacks to."""
    return file.n_bytes if file.member is None else file.member.file_size


SOURCE = FolderSource
