"""Raw corpus partitions: one artefact for each delivery of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from curation_pipeline.corpus.ingest import INGEST_VERSION, everything, fingerprint, ingest_into
from curation_pipeline.corpus.listing import LeftAlone
from curation_pipeline.corpus.schema import DOCUMENTS_SCHEMA, QUARANTINE_SCHEMA
from curation_pipeline.corpus.settings import Source
from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation.items import contamination_keys
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.benchmarks import read_benchmarks
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.quarantine import quarantine_line, quarantine_reasons, unreadable
from curation_pipeline.steps.reference.benchmarks import STEP as BENCHMARKS
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.step import Partitioning, Step, Work, no_seed
from curation_pipeline.steps.view import Check, Code, Table, View

PLACE = {"path", "endpoint_url", "anonymous"}
"""Settings of a source that say where it is, and not what: a corpus that moves is not a new one."""
PARTS = ("kept", "duplicates", "quarantined", "excluded_labelled_or_benchmark")
DECLARED, ACCOUNTED = "declared_by_files", "accounted_for"
NAMED_FILES = 100
"""Most files that a table names."""
COUNTS_ADD_UP = Check(
    "counts_add_up",
    "rows read = kept + duplicate + quarantined + excluded as labelled or benchmark text, and the rows that Parquet "
    "and Arrow files declare = those that became a row or lie behind a quarantined one",
    blocking=True,
)
READABLE = Check("something_could_be_read", "not all rows of the delivery are in quarantine")


def adds_up(figures: Mapping[str, Any]) -> bool:
    """Whether a partition's rows all ended somewhere: those that were read, and those that its files say they have."""
    return bool(figures["read"] == sum(figures[part] for part in PARTS) and figures[DECLARED] == figures[ACCOUNTED])


def source_of(ctx: Context, partition: Mapping[str, str]) -> tuple[Source, str]:
    """The source and the snapshot of a raw partition.

    Raises:
        ConfigError: the profile has no such source, or the key had no snapshot.
    """
    if not partition["snapshot"]:
        raise ConfigError(f"corpus partition {partition['source']!r}: write source|snapshot")
    return ctx.profile.source(partition["source"]), partition["snapshot"]


def left_alone(ctx: Context, partition: Mapping[str, str]) -> tuple[LeftAlone, ...]:
    """What lies in one delivery now and is not read."""
    source, snapshot = source_of(ctx, partition)
    return everything(source, snapshot).left


def ingest_parameters(ctx: Context, source: Source, snapshot: str) -> dict[str, Any]:
    """What a delivery is, and how it is to be read: the same parameters give the same documents.

    The content hash of every input file is among them: the same content delivered again is found, not made again.
    """
    return {"source": source.model_dump(mode="json", exclude=PLACE), "files": fingerprint(source, snapshot, ctx.cache)}


def compute(work: Work, draft: Draft) -> None:
    """Raw documents of one delivery (source|snapshot), written once.

    Ids are content hashes, exact duplicates are marked, and rows that cannot be read are in quarantine with file,
    offset and reason.

    Raises:
        ConfigError: the source is unknown.
        DataError: the source cannot be read at all; a single bad row goes to quarantine.
    """
    source, snapshot = source_of(work.ctx, work.place.partition)
    reserved = read_benchmarks(work.lake, work[BENCHMARKS])
    exclude = frozenset(contamination_keys(reserved, work.lake.frame(work[LABELS])).to_list())
    with draft.writer(DOCUMENTS_SCHEMA) as documents, draft.writer(QUARANTINE_SCHEMA, "quarantine") as quarantine:
        counts = ingest_into(source, snapshot, work.ctx.cache, exclude, documents, quarantine, work.profile.engine)
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


def view(ctx: Context, manifest: Manifest) -> View:
    """Sources of text, files, and what could not be read."""
    lake, figures = ctx.lake, manifest.summary
    told = quarantine_line(lake, manifest)
    counts = {name: figures[name] for name in ("read", *PARTS, DECLARED, ACCOUNTED)}
    registers = (
        lake.frame(manifest, columns=["domain", "n_bytes"])
        .group_by("domain")
        .agg(pl.len().alias("documents"), pl.col("n_bytes").sum())
    )
    files = list(manifest.parameters["files"].items())[:NAMED_FILES]
    left = [[entry.name, entry.reason] for entry in left_alone(ctx, manifest.partition)]
    return View(
        {
            "left_alone": Table(["file", "reason"], left[:NAMED_FILES]),
            "registers": Table(["register", "documents", "bytes"], registers.sort("domain").rows()),
            "quarantine_reasons": Table(["reason", "rows"], quarantine_reasons(lake, manifest).head(10).rows()),
            "input_files": Table(["file", "sha256"], [[name, Code(digest)] for name, digest in files]),
        },
        [
            COUNTS_ADD_UP.answer(adds_up(figures), **counts),
            READABLE.answer(not unreadable(manifest), **({} if told is None else {"quarantine": told})),
        ],
    )


def _parameters(work: Work) -> dict[str, Any]:
    return ingest_parameters(work.ctx, *source_of(work.ctx, work.place.partition))


STEP = Step(
    module=__name__,
    table="documents",
    version=INGEST_VERSION,
    compute=compute,
    partitioning=Partitioning.CORPUS,
    inputs=(LABELS, BENCHMARKS),
    parameters=_parameters,
    seed=no_seed,
    kinds=frozenset({"polars", "parquet"}),
    view=view,
    checks=(COUNTS_ADD_UP, READABLE),
)
