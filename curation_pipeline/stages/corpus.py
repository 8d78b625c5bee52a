"""Raw corpus partitions: one ``documents`` artefact for each delivery of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curation_pipeline.corpus.ingest import INGEST_VERSION, fingerprint, ingest_into, partitions
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.settings import Source
from curation_pipeline.datasets.benchmarks import contamination_keys
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.references import benchmarks, labels, read_benchmarks

CODE_VERSION = INGEST_VERSION
TABLE = "documents"

PLACE = {"path", "endpoint_url", "anonymous"}
"""Settings of a source that say where it is, and not what: a corpus that moves is not a new one."""


PARTS = ("kept", "duplicates", "quarantined", "excluded_labelled_or_benchmark")
DECLARED, ACCOUNTED = "declared_by_files", "accounted_for"


def adds_up(figures: Mapping[str, Any]) -> bool:
    """Whether a partition's rows all ended somewhere: those that were read, and those that its files say they have."""
    return bool(figures["read"] == sum(figures[part] for part in PARTS) and figures[DECLARED] == figures[ACCOUNTED])


def partition_key(source: str, snapshot: str) -> str:
    """The key of a corpus partition as people see it."""
    return f"{source}|{snapshot}"


def partition_sources(ctx: Context) -> dict[str, tuple[Source, str]]:
    """Every delivery that the profile's sources offer now: partition key to source and snapshot."""
    return {
        partition_key(source.name, snapshot): (source, snapshot)
        for source in ctx.profile.corpus.sources
        for snapshot in partitions(source, ctx.cache)
    }


def parse_key(ctx: Context, key: str) -> tuple[Source, str]:
    """The source and the snapshot of a partition key.

    Raises:
        ConfigError: the key has no bar, or names a source that the profile lacks.
    """
    name, bar, snapshot = key.partition("|")
    if not bar:
        raise ConfigError(f"corpus partition {key!r}: write source|snapshot")
    return ctx.profile.source(name), snapshot


def ingest_partition(ctx: Context, key: str) -> Manifest:
    """Read one delivery into documents and quarantine.

    The recipe holds the content hash of every input file: the same content delivered again is found, not made again.

    Raises:
        ConfigError: the key is unknown.
        DataError: the source cannot be read at all; a single bad row goes to quarantine instead.
    """
    source, snapshot = parse_key(ctx, key)
    labelled, reserved = labels(ctx), benchmarks(ctx)
    recipe = Recipe(
        TABLE,
        {"source": source.name, "snapshot": snapshot},
        (labelled.id, reserved.id),
        {"source": source.model_dump(mode="json", exclude=PLACE), "files": fingerprint(source, snapshot, ctx.cache)},
        0,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        exclude = frozenset(contamination_keys(read_benchmarks(ctx.lake, reserved), ctx.lake.frame(labelled)).to_list())
        with draft.writer(DOCUMENTS_SCHEMA) as documents, draft.writer(QUARANTINE_SCHEMA, "quarantine") as quarantine:
            counts = ingest_into(source, snapshot, ctx.cache, exclude, documents, quarantine)
        draft.summary.update(
            read=counts.read,
            kept=counts.kept,
            duplicates=counts.duplicate,
            quarantined=counts.quarantined,
            excluded_labelled_or_benchmark=counts.excluded,
            beyond_limit=counts.beyond_limit,
            characters=counts.characters,
            **{DECLARED: counts.declared, ACCOUNTED: counts.accounted},
        )

    return ctx.lake.build(recipe, make)
