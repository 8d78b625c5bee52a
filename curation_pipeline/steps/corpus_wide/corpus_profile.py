"""The corpus in figures: what the graph and the page of `curate profile` show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.annotate.toxicity import toxicity_columns
from curation_pipeline.errors import LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import declared, standing
from curation_pipeline.stages.parity import parity_inputs, parity_table
from curation_pipeline.stages.removal import removed_documents
from curation_pipeline.stages.takedown import request_matches
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
        tables = _Tables(lake, corpus)
        removed = removed_documents(lake, corpus, references, ctx.profile.removal)
        frames = {
            "partitions": _partitions(lake, corpus),
            "languages": tables.languages(),
            "registers": tables.registers(),
            "topics": tables.topics(lake.get(references["sentence_embedding"]).summary["topics"]),
            "rules": tables.rules(rule_names(ctx.profile.annotate.quality)),
            "duplicates": tables.duplicates(lake.frame(lake.get(references["duplicates"]))),
            "contamination": tables.contamination(),
            "pii": tables.pii(),
            "removal": tables.removal(removed),
            "requests": request_matches(lake, corpus, lake.get(references["takedown_requests"])),
            "distributions": tables.distributions(),
        }
        ctx.progress("removal parity", 0.6)
        frames["parity"] = parity_table(ctx)
        for name, frame in frames.items():
            draft.frame(frame, name)
        draft.summary.update(
            documents=tables.documents.height,
            removed=removed["doc_id"].n_unique(),
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
                "bytes": int(lake.frame(manifest, columns=["n_bytes"])["n_bytes"].sum()),
                "tokens": int(lake.frame(lake.get(ids["token_counts"]), columns=["n_tokens"])["n_tokens"].sum()),
            }
        )
    return pl.DataFrame(rows)


class _Tables:
    """Figures over all partitions: every document counts once, where it comes first."""

    def __init__(self, lake: Lake, corpus: dict[str, dict[str, str]]) -> None:
        self._lake, self._corpus = lake, corpus
        self.documents = pl.concat(
            lake.frame(lake.get(ids["documents"]), columns=["doc_id", "source", "domain", "duplicate"])
            .filter(~pl.col("duplicate"))
            .drop("duplicate")
            for _, ids in sorted(corpus.items())
        ).unique("doc_id", keep="first", maintain_order=True)

    def _with(self, table: str, columns: Iterable[str]) -> pl.DataFrame:
        """The documents with some columns of an annotation."""
        wanted = ["doc_id", *columns]
        parts = [self._lake.frame(self._lake.get(ids[table]), columns=wanted) for ids in self._corpus.values()]
        return self.documents.join(pl.concat(parts).unique("doc_id"), on="doc_id", how="inner")

    def _teachers(self) -> list[str]:
        """Names of the teachers' columns."""
        manifest = self._lake.get(next(iter(self._corpus.values()))["toxicity_teacher"])
        return list(manifest.parameters["teachers"])

    def _share(self) -> pl.Expr:
        return (pl.col("documents") / max(self.documents.height, 1)).alias("share")

    def languages(self) -> pl.DataFrame:
        frame = self._with("language", ["language"])
        counts = frame.group_by("language").agg(pl.len().alias("documents"))
        return counts.sort("documents", "language", descending=[True, False]).with_columns(self._share())

    def registers(self) -> pl.DataFrame:
        frame = self._with("register", ["register", "quality_classifier"])
        counts = frame.group_by(pl.col("domain").alias("declared"), pl.col("register").alias("predicted")).agg(
            pl.len().alias("documents"), pl.col("quality_classifier").mean().alias("quality")
        )
        return counts.sort("documents", descending=True).with_columns(self._share())

    def topics(self, labels: dict[str, str]) -> pl.DataFrame:
        names = toxicity_columns(self._teachers())
        frame = (
            self._with("sentence_vectors", ["topic"])
            .join(self._with("toxicity_teacher", names).select("doc_id", *names), on="doc_id")
            .join(self._with("token_counts", ["n_tokens"]).select("doc_id", "n_tokens"), on="doc_id")
        )
        grouped = frame.group_by("topic").agg(
            pl.len().alias("documents"),
            pl.col("n_tokens").sum().alias("tokens"),
            pl.mean_horizontal(names).mean().alias("teacher"),
        )
        named = [f"{number}: {labels.get(str(number), '')}" for number in grouped["topic"]]
        return grouped.with_columns(pl.Series("topic", named, dtype=pl.Utf8)).sort("documents", descending=True)

    def rules(self, names: list[str]) -> pl.DataFrame:
        frame = self._with("quality_rules", [f"pass_{name}" for name in names])
        by_source = frame.group_by("source").agg(
            pl.len().alias("documents"), *((1 - pl.col(f"pass_{name}").mean()).alias(name) for name in names)
        )
        order = {name: place for place, name in enumerate(names)}
        return (
            by_source.unpivot(names, index=["source", "documents"], variable_name="rule", value_name="fails")
            .with_columns(pl.col("rule").replace_strict(order).alias("_order"))
            .sort("_order", "source")
            .select("rule", "source", "documents", "fails")
        )

    def duplicates(self, table: pl.DataFrame) -> pl.DataFrame:
        source = pl.col("partition").str.split("|").list.first().alias("source")
        dropped = table.filter(~pl.col("kept")).group_by("kind", source)
        counts = dropped.agg(pl.len().alias("copies"), pl.col("cluster_id").n_unique().alias("clusters"))
        sizes = self.documents.group_by("source").agg(pl.len().alias("documents"))
        joined = counts.join(sizes, on="source", how="left").sort("kind", "source")
        return joined.with_columns((pl.col("copies") / pl.col("documents")).alias("share")).drop("documents")

    def contamination(self) -> pl.DataFrame:
        frame = self._with("contamination", ["n_overlaps", "benchmark"]).filter(pl.col("n_overlaps") > 0)
        return frame.group_by("benchmark", "source").agg(pl.len().alias("documents")).sort("benchmark", "source")

    def pii(self) -> pl.DataFrame:
        kinds = ["n_email", "n_phone", "n_ip", "n_card"]
        frame = self._with("pii", kinds).filter(pl.sum_horizontal(kinds) > 0)
        return frame.group_by("source").agg(pl.len().alias("documents"), pl.col(kinds).sum()).sort("source")

    def removal(self, removed: pl.DataFrame) -> pl.DataFrame:
        causes = removed.select("doc_id", "cause").unique().join(self.documents, on="doc_id")
        anything = causes.with_columns(pl.lit("any cause").alias("cause")).unique("doc_id")
        counts = pl.concat([causes, anything]).group_by("source", "cause").agg(pl.len().alias("documents"))
        sizes = self.documents.group_by("source").agg(pl.len().alias("_n"))
        joined = counts.join(sizes, on="source").sort("source", "cause")
        return joined.with_columns((pl.col("documents") / pl.col("_n")).alias("share")).drop("_n")

    def distributions(self) -> pl.DataFrame:
        wanted = [
            ("text_statistics", "n_words", "words", True),
            ("text_statistics", "quality", "quality heuristic", False),
            ("register", "quality_classifier", "quality classifier", False),
            ("language", "language_confidence", "language confidence", False),
            *(("toxicity_teacher", name, f"teacher {name}", False) for name in self._teachers()),
        ]
        parts = []
        for table, column, label, log in wanted:
            values = self._with(table, [column])[column].drop_nulls().to_numpy().astype(np.float64)
            parts.append(histogram_rows(label, values, log=log))
        return pl.concat(parts)


def histogram_rows(score: str, values: np.ndarray, bins: int = 40, log: bool = False) -> pl.DataFrame:
    """The rows of one score in the table ``distributions``: score, low, high, documents.

    Args:
        score: its name.
        values: finite numbers, any shape (n,).
        bins: number of bins, of equal width on the scale.
        log: bins of equal width in the logarithm; values below 1 fall into the first.
    """
    if not len(values):
        return pl.DataFrame(schema={"score": pl.Utf8, "low": pl.Float64, "high": pl.Float64, "documents": pl.Int64})
    scaled = np.log10(np.maximum(values, 1.0)) if log else values
    counts, edges = np.histogram(scaled.astype(np.float64), bins=bins)
    edges = 10**edges if log else edges
    return pl.DataFrame(
        {"score": score, "low": edges[:-1], "high": edges[1:], "documents": counts.astype(np.int64)},
        schema_overrides={"low": pl.Float64, "high": pl.Float64},
    )


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
