"""Raw corpus partitions: one ``documents`` artefact for each delivery of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curation_pipeline.corpus.ingest import INGEST_VERSION, everything, fingerprint, ingest_into
from curation_pipeline.corpus.listing import LeftAlone
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.settings import Source
from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation.items import contamination_keys
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


def parse_key(ctx: Context, key: str) -> tuple[Source, str]:
    """The source and the snapshot of a partition key.

    Raises:
        ConfigError: the key has no bar, or names a source that the profile lacks.
    """
    name, bar, snapshot = key.partition("|")
    if not bar:
        raise ConfigError(f"corpus partition {key!r}: write source|snapshot")
    return ctx.profile.source(name), snapshot


def left_alone(ctx: Context, key: str) -> tuple[LeftAlone, ...]:
    """What lies in one delivery now and is not read."""
    source, snapshot = parse_key(ctx, key)
    return everything(source, snapshot).left


def ingest_parameters(ctx: Context, source: Source, snapshot: str) -> dict[str, Any]:
    """What a delivery is, and how it is to be read: the same parameters give the same documents."""
    return {"source": source.model_dump(mode="json", exclude=PLACE), "files": fingerprint(source, snapshot, ctx.cache)}


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
        ingest_parameters(ctx, source, snapshot),
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
            files_seen=counts.files_read + counts.files_left_alone,
            files_read=counts.files_read,
            files_left_alone=counts.files_left_alone,
            **{DECLARED: counts.declared, ACCOUNTED: counts.accounted},
        )

    return ctx.lake.build(recipe, make)
