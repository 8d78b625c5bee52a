"""The corpus in figures: what the graph and the page of `curate profile` show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.errors import LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.corpus_figures import corpus_figures
from curation_pipeline.stages.declared import declared, standing
from curation_pipeline.stages.parity import parity_inputs, parity_table
from curation_pipeline.stages.takedown import request_matches
from curation_pipeline.stages.texts import table_parts
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.corpus_tables import complete_corpus
from curation_pipeline.steps.corpus_wide.duplicates import STEP as DUPLICATES
from curation_pipeline.steps.corpus_wide.duplicates import duplicates_in_force
from curation_pipeline.steps.corpus_wide.takedown_requests import STEP as TAKEDOWN_REQUESTS
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.reference.labels import STEP as LABELS
from curation_pipeline.steps.reference.sentence_embedding import STEP as SENTENCE_EMBEDDING
from curation_pipeline.steps.step import Place, Step, StepGroup
from curation_pipeline.steps.view import Check, Figure, Table, View

TABLE = "corpus_profile"
VERSION = "3"
PARITY = Check(
    "removal_parity",
    "no rule or detector removes benign text that mentions an identity group, or is written in a dialect, more than "
    "1.25 times as often as benign text on average (human labels)",
)
REQUESTS = Check("removal_requests_match", "every removal request names a document of the corpus")


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """How one table of the profile is shown.

    Attributes:
        title: heading of its section.
        note: what its figures are, in a sentence or two.
        columns: column to format (count, share, number, bytes, text, mark); other columns are in the CSV alone.
        plot: column that is drawn as bars over the first column, if any.
        rows: rows shown; the CSV has all.
    """

    title: str
    note: str
    columns: Mapping[str, str]
    plot: str | None = None
    rows: int = 40


TABLES: Mapping[str, ProfileTable] = {
    "partitions": ProfileTable(
        "Deliveries",
        "One row for each raw partition. Read = kept + duplicates + quarantined + excluded (labelled or "
        "benchmark text).",
        {
            "partition": "text", "read": "count", "kept": "count", "duplicates": "count", "quarantined": "count",
            "excluded": "count", "bytes": "bytes", "tokens": "count",
        },
    ),
    "languages": ProfileTable(
        "Languages", "As identified; “und” is text too short or too strange to tell.",
        {"language": "text", "documents": "count", "share": "share"}, plot="share", rows=15,
    ),
    "registers": ProfileTable(
        "Registers",
        "What the source declares, what the classifier says, and the mean of the quality classifier.",
        {"declared": "text", "predicted": "text", "documents": "count", "share": "share", "quality": "number"},
    ),
    "topics": ProfileTable(
        "Topics", "Clusters of sentence vectors, with the words that set them apart and the teacher's mean score.",
        {"topic": "text", "documents": "count", "tokens": "count", "teacher": "number"},
    ),
    "rules": ProfileTable(
        "Quality rules",
        "Share of documents that fail each rule, by source. Rules mark; the profile's [removal] decides what counts.",
        {"rule": "text", "source": "text", "documents": "count", "fails": "share"}, rows=400,
    ),
    "duplicates": ProfileTable(
        "Duplicates", "Copies beyond the one that is kept, by kind and source.",
        {"kind": "text", "source": "text", "copies": "count", "clusters": "count", "share": "share"},
    ),
    "contamination": ProfileTable(
        "Benchmark contamination", "Documents that share a 13-gram with a text that the evaluation uses.",
        {"benchmark": "text", "source": "text", "documents": "count"},
    ),
    "pii": ProfileTable(
        "Personal data", "Spans that are replaced by placeholders before a model reads the text.",
        {"source": "text", "documents": "count", "n_email": "count", "n_phone": "count", "n_ip": "count",
         "n_card": "count"},
    ),
    "removal": ProfileTable(
        "What never enters the pool", "By cause and source, as a share of the source's distinct documents.",
        {"source": "text", "cause": "text", "documents": "count", "share": "share"},
    ),
    "requests": ProfileTable(
        "Removal requests",
        "What the file of requests names, by line, and the distinct documents that it removes. A request of zero names "
        "nothing that is in the corpus.",
        {"line": "text", "given": "text", "request_id": "text", "documents": "count"}, rows=400,
    ),
    "parity": ProfileTable(
        "Which groups removal affects",
        "Removal rate over text that people labelled benign, by identity group mentioned and by dialect proxy, and its "
        "ratio to the average. Flagged: the ratio is above the limit, and its interval excludes chance.",
        {
            "dataset": "text", "rule": "text", "group": "text", "n": "count", "rate": "share",
            "average_rate": "share", "ratio": "number", "ci_low": "number", "ci_high": "number", "flagged": "mark",
        },
        rows=400,
    ),
}  # fmt: skip
"""Tables of a corpus profile in the order of the page."""


def run(ctx: Context, place: Place) -> Manifest:
    """The corpus in figures: sizes, languages, registers, topics, scores, duplicates, and what removal does.

    That is what each rule and each cause removes, and which groups it meets. `curate profile` writes the same as an
    HTML page. Only raw partitions that are fully annotated are in it.

    Raises:
        LakeError: no partition is, or duplicates, labels or detectors have not been made.
    """
    lake = ctx.lake
    present = declared(ctx)
    corpus = complete_corpus(ctx, present)
    if not corpus:
        raise LakeError("no corpus partition has documents and all annotations: run `curate run --only-prepare` first")
    references = {name: lake.require(name).id for name in ("takedown_requests", "sentence_embedding")}
    references["duplicates"] = duplicates_in_force(ctx, corpus, present).id
    inputs = [identity for ids in corpus.values() for identity in ids.values()]
    inputs += [*references.values(), *parity_inputs(ctx)]
    parameters = {
        "removal": ctx.profile.removal.model_dump(mode="json"),
        "parity": ctx.profile.annotate.parity.model_dump(mode="json"),
        "dialect": ctx.profile.annotate.dialect.model_dump(mode="json"),
        "quality": ctx.profile.annotate.quality.model_dump(mode="json"),
    }
    recipe = Recipe(TABLE, {}, tuple(inputs), parameters, ctx.profile.seed, VERSION)

    def make(draft: Draft) -> None:
        ctx.progress("corpus figures", 0.1)
        rules = rule_names(ctx.profile.annotate.quality)
        figures, totals = corpus_figures(lake, corpus, references, ctx.profile.removal, rules, draft.folder)
        requests = request_matches(lake, corpus, lake.get(references["takedown_requests"]), draft.folder)
        frames = {"partitions": _partitions(lake, corpus), "requests": requests, **figures}
        ctx.progress("removal parity", 0.6)
        frames["parity"] = parity_table(ctx)
        for name, frame in frames.items():
            draft.frame(frame, name)
        draft.summary.update(
            **totals,
            languages=frames["languages"].height,
            flagged_groups=int(frames["parity"]["flagged"].sum()),
            requests_without_documents=int((frames["requests"]["documents"] == 0).sum()),
        )

    return lake.build(recipe, make)


def requests_without_documents(lake: Lake, manifest: Manifest) -> pl.DataFrame:
    """The requests of removal that named no document of the corpus when it was profiled: line, given, request_id."""
    return lake.frame(manifest, "requests").filter(pl.col("documents") == 0).drop("documents")


def _partitions(lake: Lake, corpus: dict[str, dict[str, str]]) -> pl.DataFrame:
    rows = []
    for key, ids in sorted(corpus.items()):
        manifest = lake.get(ids["documents"])
        figures = manifest.summary
        rows.append(
            {
                "partition": key,
                "read": figures["read"],
                "kept": figures["kept"],
                "duplicates": figures["duplicates"],
                "quarantined": figures["quarantined"],
                "excluded": figures["excluded_labelled_or_benchmark"],
                "bytes": _sum(lake, manifest, "n_bytes"),
                "tokens": _sum(lake, lake.get(ids["token_counts"]), "n_tokens"),
            }
        )
    return pl.DataFrame(rows)


def _sum(lake: Lake, manifest: Manifest, column: str) -> int:
    return sum(int(part[column].cast(pl.Int64).sum()) for part in table_parts(lake, manifest, [column]))


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
    unmatched = requests_without_documents(ctx.lake, manifest)
    return View(
        shown,
        [
            PARITY.answer(flagged.is_empty(), flagged=Table(columns, flagged.select(columns).rows())),
            REQUESTS.answer(unmatched.is_empty(), without_documents=Table(unmatched.columns, unmatched.rows())),
        ],
    )


STEP = Step(
    module=__name__,
    table=TABLE,
    version=VERSION,
    run=run,
    inputs=(LABELS, DETECTORS, DUPLICATES, TAKEDOWN_REQUESTS, SENTENCE_EMBEDDING),
    reads=(DOCUMENTS, StepGroup("annotations")),
    kinds=frozenset({"polars", "matplotlib"}),
    view=view,
    checks=(PARITY, REQUESTS),
    follows_corpus=True,
)
