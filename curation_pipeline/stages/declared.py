"""The corpus as the profile declares it now: what its sources deliver, and what of the lake is retired by that.

The lake keeps every partition that was ever read, so that lineage can be told. What is trained on, fitted on, compared
or counted is what this module answers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from curation_pipeline.corpus.ingest import partitions
from curation_pipeline.corpus.settings import FolderSource, Source
from curation_pipeline.errors import CurationError, DataError
from curation_pipeline.lake.bucket import is_bucket
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context

IN_USE, UNREAD, RETIRED, UNKNOWN = "in use", "not read yet", "retired", "source cannot be listed"
"""What a partition is to the corpus; see `standing`."""


def partition_key(source: str, snapshot: str) -> str:
    """The key of a corpus partition as people see it."""
    return f"{source}|{snapshot}"


def deliveries(ctx: Context, source: Source) -> list[str]:
    """The snapshots that a source holds now, sorted.

    Raises:
        ConfigError: the source's settings name what there is not.
        DataError: its folder is missing or empty, or that of a snapshot that was read before is there and empty: what
            cannot be reached must not be taken for retired.
        DownloadError: the hub cannot be reached.
    """
    names = partitions(source, ctx.cache)
    if isinstance(source, FolderSource) and not is_bucket(source.path):
        for manifest in ctx.lake.heads("documents", {"source": source.name}):
            folder = Path(source.path).expanduser() / manifest.partition["snapshot"]
            if manifest.partition["snapshot"] not in names and os.path.lexists(folder) and not _holds_a_file(folder):
                raise DataError(
                    f"source {source.name!r}: {folder} was read before, and no file can be seen in it now. Mount or "
                    "restore it; or delete the folder, if its documents shall not be used any more"
                )
    return names


def _holds_a_file(folder: Path) -> bool:
    def refuse(error: OSError) -> None:
        raise error

    try:
        return any(files for _, _, files in os.walk(folder, onerror=refuse))
    except OSError:
        return False


def partition_sources(ctx: Context) -> dict[str, tuple[Source, str]]:
    """Every delivery that the profile's sources offer now: partition key to source and snapshot.

    Raises:
        CurationError: a source cannot be listed; see `deliveries`.
    """
    return {
        partition_key(source.name, snapshot): (source, snapshot)
        for source in ctx.profile.corpus.sources
        for snapshot in deliveries(ctx, source)
    }


@dataclass(frozen=True, slots=True)
class Declared:
    """The current documents of every partition that was ever read, by key, in order of key.

    Attributes:
        documents: of the partitions that the profile declares: the corpus.
        retired: of the others, which are kept for lineage alone.
    """

    documents: dict[str, Manifest]
    retired: dict[str, Manifest]


def declared(ctx: Context) -> Declared:
    """What of the lake's documents is the corpus now.

    Raises:
        CurationError: a source cannot be listed; see `deliveries`.
    """
    offered = partition_sources(ctx)
    heads = {m.partition_text: m for m in sorted(ctx.lake.heads("documents"), key=lambda m: m.partition_text)}
    return Declared(
        {key: manifest for key, manifest in heads.items() if key in offered},
        {key: manifest for key, manifest in heads.items() if key not in offered},
    )


def standing(ctx: Context) -> tuple[dict[str, str], list[str]]:
    """What every partition that was read, or is offered now, is to the corpus; and why sources could not be listed.

    For reading alone: a source that cannot be listed is no error here, and its partitions are not called retired.
    """
    found = {manifest.partition_text: RETIRED for manifest in ctx.lake.heads("documents")}
    problems: list[str] = []
    for source in ctx.profile.corpus.sources:
        try:
            keys = [partition_key(source.name, snapshot) for snapshot in deliveries(ctx, source)]
        except CurationError as error:
            problems.append(str(error))
            found |= {key: UNKNOWN for key in found if key.startswith(partition_key(source.name, ""))}
        else:
            found |= {key: IN_USE if key in found else UNREAD for key in keys}
    return dict(sorted(found.items())), problems
