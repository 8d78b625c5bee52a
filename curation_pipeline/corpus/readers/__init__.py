"""Readers of file formats: each module of this folder declares which files it reads, its settings and how it reads.

A package adds a format by an entry point of the group ``curation_pipeline.readers`` that names a `FileReader`, and a
kind of source by one that names a subclass of `SourceSettings`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO, Literal

from curation_pipeline.corpus.charsets import as_utf8
from curation_pipeline.corpus.rows import Batch, RowBuilder
from curation_pipeline.corpus.source import FileSettings, SourceSettings
from curation_pipeline.corpus.streams import Damage, packing_of, pieces
from curation_pipeline.datasets.bounds import Meter
from curation_pipeline.plugins import of_folder, of_packages

GROUP = "curation_pipeline.readers"


@dataclass(frozen=True, slots=True)
class FileReader:
    """How files of one format become rows.

    Attributes:
        suffixes: how the names of its files end, in lower case; what says how they are packed does not count.
        read: takes what ``takes`` says and the source's settings; gives rows and failures in order, whatever the file
            holds.
        takes: pieces of the unpacked file as "bytes", the same in UTF-8 as "text", or an open "file" for formats that
            are read from several places; the `Meter` of what is unpacked is the third argument then.
        settings: what the format adds to the settings of a folder source.
        refusal: why its files are left alone under some settings; empty where they are read.
        by_lines: what a line holds does not depend on those before it, so that a large file can be read in parts.
    """

    suffixes: tuple[str, ...]
    read: Callable[..., Iterator[Batch]]
    takes: Literal["text", "bytes", "file"] = "text"
    settings: type[FileSettings] = FileSettings
    refusal: Callable[[Any], str] = lambda settings: ""
    by_lines: bool = False

    def batches(
        self, stream: BinaryIO, name: str, settings: FileSettings, meter: Meter | None = None, inside: bool = False
    ) -> Iterator[Batch]:
        """The rows and failures of a file.

        Args:
            stream: the file, opened for reading bytes.
            name: its name, which says how it is packed.
            settings: of its source.
            meter: what the members of one archive share; None for a file of its own.
            inside: the stream begins in the middle of its file, where no byte-order mark is.
        """
        if self.takes != "file":
            found = pieces(stream, name, meter or settings.meter())
            yield from self.read(as_utf8(found) if self.takes == "text" and not inside else found, settings)
        elif packing_of(name) or meter is not None:
            yield from self._unpacked(stream, name, settings, meter or settings.meter())
        else:
            yield from self.read(stream, settings, settings.meter())

    def _unpacked(self, stream: BinaryIO, name: str, settings: FileSettings, meter: Meter) -> Iterator[Batch]:
        damage = RowBuilder(settings)
        with tempfile.TemporaryFile() as whole:
            for piece in pieces(stream, name, meter):
                if isinstance(piece, Damage):
                    # Behind a hole nothing lies where the format says it does.
                    damage.fail(-1, whole.tell(), b"", f"the file breaks off here: {piece.reason}")
                    break
                whole.write(piece)
            whole.seek(0)
            yield from self.read(whole, settings, meter.fresh())
        yield from damage.drain()


@cache
def plugins() -> tuple[FileReader | type[SourceSettings], ...]:
    """What other packages declare.

    Raises:
        ConfigError: an entry point names something else.
    """
    return tuple(of_packages(GROUP, FileReader, SourceSettings))


@cache
def file_readers() -> dict[str, FileReader]:
    """The reader of each suffix: those of this folder, and those of other packages, which may replace them."""
    own = [reader for readers in of_folder(__name__, __path__, "READERS") for reader in readers]
    readers = own + [plugin for plugin in plugins() if isinstance(plugin, FileReader)]
    return {suffix: reader for reader in readers for suffix in reader.suffixes}


def format_of(name: str) -> str:
    """The end of a file's name that says what it holds, in lower case; empty where there is none."""
    _, dot, last = name[: len(name) - len(packing_of(name))].rpartition("/")[2].rpartition(".")
    return (dot + last).lower() if dot else ""


def reader_for(name: str) -> FileReader | None:
    """The reader for a file by its name, or None."""
    return file_readers().get(format_of(name))
