"""What every source of documents has: settings that a profile gives it, and questions that the ingest asks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.settings import Settings

if TYPE_CHECKING:
    from curation_pipeline.corpus.listing import Listing
    from curation_pipeline.corpus.rows import Batch

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


@dataclass(frozen=True, slots=True)
class Size:
    """How much text there is, counted or estimated.

    Attributes:
        documents: before duplicates are marked and anything is removed.
        text_bytes: of their texts in UTF-8.
    """

    documents: float = 0.0
    text_bytes: float = 0.0

    def __add__(self, other: Size) -> Size:
        """Both together."""
        return Size(self.documents + other.documents, self.text_bytes + other.text_bytes)

    def __mul__(self, times: float) -> Size:
        """So many times as much."""
        return Size(self.documents * times, self.text_bytes * times)


class SourceSettings(Settings):
    """A source of one kind. A subclass adds ``kind: Literal["its name"]`` and answers the questions below."""

    name: str = Field(pattern=NAME, description="name of the source; first half of its partition keys")
    limit: int | None = Field(
        default=None, ge=1, description="most documents kept in one snapshot: a sample that depends on the texts alone"
    )
    max_chars: int | None = Field(default=None, ge=200, description="longer texts are split at paragraphs or sentences")

    def partitions(self, cache: Path) -> list[str]:
        """Names of the source's snapshots, sorted.

        Args:
            cache: folder of downloaded archives.

        Raises:
            ConfigError: the settings name something that does not exist, or terms are not accepted.
            DataError: the source does not exist or holds nothing that can be read.
            DownloadError: it cannot be reached.
        """
        raise NotImplementedError

    def fingerprint(self, snapshot: str, cache: Path) -> dict[str, str]:
        """Input name -> what identifies its content, for the recipe key: the same content gives the same key."""
        raise NotImplementedError

    def batches(self, snapshot: str, found: Listing, cache: Path) -> Iterator[tuple[str, Batch]]:
        """File names and batches of one snapshot, in the same order each time.

        Args:
            snapshot: one of :meth:`partitions`.
            found: what :meth:`listing` says of the snapshot.
            cache: folder of downloaded archives.
        """
        raise NotImplementedError

    def size(self, snapshot: str, cache: Path) -> Size:
        """How much a snapshot holds, before ``limit``; everything is read where the source has no quicker way."""
        size = Size()
        for _, batch in self.batches(snapshot, self.listing().of(snapshot), cache):
            size += self.size_of(batch)
        return size

    def size_of(self, batch: Batch) -> Size:
        """Documents and bytes of a batch, long texts split."""
        from curation_pipeline.corpus.splitting import split_rows

        rows = batch.rows if self.max_chars is None else split_rows(batch.rows, self.max_chars)
        return Size(rows.height, int(rows["text"].str.len_bytes().sum()))

    def listing(self) -> Listing:
        """Every file of the source, read or left alone; nothing for sources that are not made of files."""
        from curation_pipeline.corpus.listing import Listing

        return Listing((), ())

    def genre_and_language(self) -> tuple[str, str | None]:
        """The genre (column ``domain``) and, where it is known, the language of all texts."""
        raise NotImplementedError


class ReadSettings(SourceSettings):
    """What the readers of every kind of outside source need to know."""

    text_column: str = Field(default="text", min_length=1, description="column or key that holds the text")
    url_column: str | None = Field(default=None, description="column of the page's address, if there is one")
    created_at_column: str | None = Field(default=None, description="column of the time of writing, ISO 8601")
    language: str | None = Field(default=None, description="language of all texts, e.g. en; not detected")
    domain: str = Field(default="web", min_length=1, description="register: encyclopaedia, conversation, news, ...")
    max_document_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1_000,
        le=1024**3,
        description="a longer line, record or text goes to quarantine and is never held whole",
    )

    def genre_and_language(self) -> tuple[str, str | None]:
        """As the profile says."""
        return self.domain, self.language


class FileSettings(ReadSettings):
    """What the readers of files need to know besides; a format adds its own settings in a subclass."""

    max_expansion: float = Field(
        default=250,
        ge=2,
        description="most bytes that a stored byte may give, beyond the first 64 MiB of a file, packed or encoded as "
        "in Parquet and Arrow: a guard against decompression bombs",
    )
    max_unpacked_bytes: int = Field(
        default=1024**4, ge=1_000, description="a file is read no further than this many decompressed bytes"
    )

    def meter(self) -> Meter:
        """Counts nothing yet, within these limits."""
        return Meter(self.max_expansion, self.max_unpacked_bytes)
