"""The corpus in figures."""

from __future__ import annotations

from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.report.corpus_page import TABLES
from curation_pipeline.stages import corpus_profile as profiles
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import standing
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.corpus_wide.duplicates import STEP as DUPLICATES
from curation_pipeline.steps.corpus_wide.takedown_requests import STEP as TAKEDOWN_REQUESTS
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.reference.sentence_embedding import STEP as SENTENCE_EMBEDDING
from curation_pipeline.steps.step import Group, Place, Step
from curation_pipeline.steps.view import Check, Figure, Table, View

PARITY = Check(
    "removal_parity",
    "no rule or detector removes benign text that mentions an identity group, or is written in a dialect, more than "
    "1.25 times as often as benign text on average (human labels)",
)
REQUESTS = Check("removal_requests_match", "every removal request names a document of the corpus")


def run(ctx: Context, place: Place) -> Manifest:
    """The corpus in figures: sizes, languages, registers, topics, scores, duplicates, and what removal does.

    That is what each rule and each cause removes, and which groups it meets. `curate profile` writes the same as an
    HTML page.
    """
    return profiles.corpus_profile(ctx)


def view(ctx: Context, manifest: Manifest) -> View:
    """The profile's tables, shortened."""
    shown: dict[str, Figure] = {}
    for name, table in TABLES.items():
        frame = ctx.lake.frame(manifest, name)
        columns = [column for column in table.columns if column in frame.columns]
        rows = frame.select(columns).head(table.rows).iter_rows()
        rounded = [[round(cell, 4) if isinstance(cell, float) else cell for cell in row] for row in rows]
        shown[name] = Table(columns, rounded)
    shown["standing_of_partitions"] = Table(["raw partition", "standing"], list(standing(ctx)[0].items()))
    flagged = ctx.lake.frame(manifest, "parity").filter("flagged")
    columns = ["dataset", "rule", "group", "rate", "average_rate", "ratio"]
    unmatched = profiles.requests_without_documents(ctx.lake, manifest)
    return View(
        shown,
        [
            PARITY.answer(flagged.is_empty(), flagged=Table(columns, flagged.select(columns).rows())),
            REQUESTS.answer(unmatched.is_empty(), without_documents=Table(unmatched.columns, unmatched.rows())),
        ],
    )


STEP = Step(
    module=__name__,
    table="corpus_profile",
    version=profiles.CODE_VERSION,
    run=run,
    inputs=(LABELS, DETECTORS, DUPLICATES, TAKEDOWN_REQUESTS, SENTENCE_EMBEDDING),
    reads=(DOCUMENTS, Group("annotations")),
    kinds=frozenset({"polars", "matplotlib"}),
    view=view,
    checks=(PARITY, REQUESTS),
    follows_corpus=True,
)
