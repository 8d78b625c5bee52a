"""The corpus for people: every partition with its standing, and what they should know before they trust it."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from curation_pipeline.corpus.ingest import everything
from curation_pipeline.errors import CurationError, DataError
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import RETIRED, standing
from curation_pipeline.stages.gate import gate_of
from curation_pipeline.stages.quarantine import quarantine_line
from curation_pipeline.stages.takedown import read_takedown_requests
from curation_pipeline.steps.corpus_wide.corpus_profile import requests_without_documents


def corpus_status(ctx: Context) -> pl.DataFrame:
    """One row for each partition that was read or is offered now, in order of key."""
    heads = {manifest.partition_text: manifest for manifest in ctx.lake.heads("documents")}
    rows = []
    for key, state in standing(ctx)[0].items():
        found = heads.get(key)
        rows.append(
            {
                "raw partition": key,
                "standing": state,
                "documents": None if found is None else found.n_rows,
                "in quarantine": None if found is None else found.summary.get("quarantined"),
                "MiB": None if found is None else round(found.n_bytes / 2**20, 2),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def corpus_notes(ctx: Context) -> list[str]:
    """Lines that say what is retired, left alone or could not be read, and which sources cannot be listed."""
    found, problems = standing(ctx)
    heads = {manifest.partition_text: manifest for manifest in ctx.lake.heads("documents")}
    retired = {key: heads[key].n_rows for key, state in found.items() if state == RETIRED}
    lines = [f"Cannot be listed: {problem}" for problem in problems]
    if retired:
        lines.append(
            f"Retired: {', '.join(retired)} ({sum(retired.values()):,} documents). The profile's sources hold them no "
            "longer, so no gate lets them in; they are kept for lineage. What was fitted once (base, tokenizer, "
            "vectors, held-out texts) stays; a new `annotate.generation` fits it again without them."
        )
    told = (quarantine_line(ctx.lake, manifest) for key, manifest in heads.items() if key not in retired)
    return [*lines, *_left_alone(ctx), *filter(None, told), *_unmatched_requests(ctx)]


def _left_alone(ctx: Context) -> Iterator[str]:
    """What lies in any source and is not read, a line for each source and reason."""
    for source in ctx.profile.corpus.sources:
        try:
            found = everything(source)
        except CurationError:
            continue  # A source that cannot be listed has a line of its own.
        yield from (f"source {source.name}: {line}" for line in found.told())


def _unmatched_requests(ctx: Context) -> Iterator[str]:
    """Lines where requests of removal cannot be read, or name no document of the corpus."""
    path = ctx.profile.removal.takedown_requests
    try:
        if path is not None:
            read_takedown_requests(path)
    except DataError as error:
        yield str(error)
    profiled = ctx.lake.head("corpus_profile")
    if profiled is None:
        return
    given = requests_without_documents(ctx.lake, profiled)["given"].to_list()
    if given:
        shown = ", ".join(map(repr, given[:3])) + (", ..." if len(given) > 3 else "")
        yield f"Removal requests that name NO document: {len(given)} ({shown}); `curate profile` lists all"


def retired_since(ctx: Context, pool: Manifest) -> str | None:
    """A line that says what of a pool's partitions was retired after its gate; None where nothing was."""
    known, _ = standing(ctx)
    gone = [key for key in gate_of(ctx.lake, pool).corpus if known.get(key) == RETIRED]
    return f"{pool.partition_text} was drawn from {', '.join(gone)} too, retired since" if gone else None
