"""The corpus in figures: what the UI's `corpus_profile` and the page of `curate profile` show."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.annotate.toxicity import toxicity_columns
from curation_pipeline.errors import LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.declared import declared
from curation_pipeline.stages.parity import parity_inputs, parity_table
from curation_pipeline.stages.removal import removed_documents
from curation_pipeline.stages.takedown import request_matches
from curation_pipeline.steps.corpus_tables import complete_corpus
from curation_pipeline.steps.corpus_wide.duplicates import duplicates_in_force

TABLE = "corpus_profile"
CODE_VERSION = "2"


def corpus_profile(ctx: Context) -> Manifest:
    """Compute the profile of every raw partition that is fully annotated.

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
    recipe = Recipe(TABLE, {}, tuple(inputs), parameters, ctx.profile.seed, CODE_VERSION)

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
        judge = self._lake.get(next(iter(self._corpus.values()))["toxicity_judge"])
        wanted = [
            ("text_statistics", "n_words", "words", True),
            ("text_statistics", "quality", "quality heuristic", False),
            ("register", "quality_classifier", "quality classifier", False),
            ("language", "language_confidence", "language confidence", False),
            *(("toxicity_teacher", name, f"teacher {name}", False) for name in self._teachers()),
            ("toxicity_judge", self._lake.frame(judge).columns[1], "judge", False),
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
