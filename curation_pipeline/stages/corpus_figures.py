"""Figures of a corpus, added up a span of documents at a time: each document counts once, where it comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import toxicity_columns
from curation_pipeline.config import RemovalSettings
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.runs import sorted_runs
from curation_pipeline.stages.removal import removals
from curation_pipeline.stages.texts import corpus_parts, table_parts

BINS = 40
_PII = ("n_email", "n_phone", "n_ip", "n_card")
_N = pl.len().cast(pl.Int64).alias("documents")


class Sums:
    """Sums of columns by group, over frames that never meet.

    Args:
        by: columns that tell groups apart.
        sums: what is added up of the rows of a group, each an aggregation.
    """

    def __init__(self, by: Sequence[str], *sums: pl.Expr) -> None:
        self._by, self._sums = list(by), sums
        self._held: list[pl.DataFrame] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Add the rows of a frame."""
        self._held.append(frame.group_by(self._by).agg(self._sums))
        self._held = [self.table()]

    def table(self) -> pl.DataFrame:
        """One row a group, sorted by the groups."""
        return pl.concat(self._held).group_by(self._by).agg(pl.all().sum()).sort(self._by)


class Histogram:
    """Counts in `BINS` bins of equal width between the least and the largest value, which have to be met before.

    Args:
        label: name of the score.
        column: of the frames.
        log: bins of equal width in the logarithm; values below 1 fall into the first.
    """

    def __init__(self, label: str, column: str, log: bool = False) -> None:
        self.label, self.column, self.log = label, column, log
        self._low, self._high = np.inf, -np.inf
        self._counts = np.zeros(BINS, np.int64)

    def _values(self, frame: pl.DataFrame) -> np.ndarray:
        values = frame[self.column].drop_nulls().to_numpy().astype(np.float64)
        return np.log10(np.maximum(values, 1.0)) if self.log else values

    def meet(self, frame: pl.DataFrame) -> None:
        """Look at the values of a frame before any is counted."""
        values = self._values(frame)
        if len(values):
            self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def add(self, frame: pl.DataFrame) -> None:
        """Count the values of a frame."""
        if np.isfinite(self._low):
            self._counts += np.histogram(self._values(frame), BINS, (self._low, self._high))[0]

    def rows(self) -> pl.DataFrame:
        """Columns score, low, high and documents; no row where there is no value."""
        edges = np.histogram_bin_edges([], BINS, (self._low, self._high)) if np.isfinite(self._low) else np.zeros(1)
        edges = 10**edges if self.log else edges
        return pl.DataFrame(
            {"score": self.label, "low": edges[:-1], "high": edges[1:], "documents": self._counts[: len(edges) - 1]},
            schema={"score": pl.Utf8, "low": pl.Float64, "high": pl.Float64, "documents": pl.Int64},
        )


def corpus_figures(
    lake: Lake,
    corpus: Mapping[str, Mapping[str, str]],
    references: Mapping[str, str],
    removal: RemovalSettings,
    rules: Sequence[str],
    folder: Path,
) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    """The tables of a corpus profile that count documents, and how many there are and are removed.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations.
        references: ids of ``duplicates`` and ``takedown_requests``, and of ``sentence_embedding`` (topics).
        removal: which causes count.
        rules: names of the quality rules, in the order in which they are shown.
        folder: an existing folder for what does not fit into memory.
    """
    teacher = lake.get(next(iter(corpus.values()))["toxicity_teacher"])
    names = list(teacher.parameters["teachers"])
    toxic = toxicity_columns(tuple(names))
    flags = [f"pass_{name}" for name in rules]
    annotations: dict[str, Sequence[str]] = {
        "language": ("language", "language_confidence"),
        "register": ("register", "quality_classifier"),
        "sentence_vectors": ("topic",),
        "toxicity_teacher": names,
        "token_counts": ("n_tokens",),
        "quality_rules": flags,
        "contamination": ("n_overlaps", "benchmark"),
        "pii": _PII,
        "text_statistics": ("n_words", "quality"),
    }
    quality, score = pl.col("quality_classifier").cast(pl.Float64), pl.mean_horizontal(toxic).cast(pl.Float64)
    sums = {
        "sizes": Sums(["source"], _N),
        "languages": Sums(["language"], _N),
        "registers": Sums(["domain", "register"], _N, quality.sum().alias("sum"), quality.count().alias("known")),
        "topics": Sums(
            ["topic"], _N, pl.col("n_tokens").cast(pl.Int64).sum().alias("tokens"), score.sum().alias("sum"),
            score.count().alias("known"),
        ),
        "rules": Sums(["source"], _N, *(pl.col(flag).sum().cast(pl.Int64) for flag in flags)),
        "contamination": Sums(["benchmark", "source"], _N),
        "pii": Sums(["source"], _N, pl.col(_PII).cast(pl.Int64).sum()),
        "removal": Sums(["source", "cause"], _N),
    }  # fmt: skip
    histograms = [
        Histogram("words", "n_words", log=True),
        Histogram("quality heuristic", "quality"),
        Histogram("quality classifier", "quality_classifier"),
        Histogram("language confidence", "language_confidence"),
        *(Histogram(f"teacher {name}", name) for name in names),
    ]
    removed = 0
    with sorted_runs(folder) as documents, sorted_runs(folder) as causes:
        for part in corpus_parts(lake, corpus, ("source", "domain"), annotations):
            documents.append(part)
            for histogram in histograms:
                histogram.meet(part)
        causes.extend(removals(lake, corpus, references, removal))
        for span in documents.spans():
            own = documents.read(span).unique("doc_id", keep="first", maintain_order=True)
            for name in ("sizes", "languages", "registers", "topics", "rules"):
                sums[name].add(own)
            sums["contamination"].add(own.filter(pl.col("n_overlaps") > 0))
            sums["pii"].add(own.filter(pl.sum_horizontal(_PII) > 0))
            for histogram in histograms:
                histogram.add(own)
            why = causes.read(span).select("doc_id", "cause").unique()
            removed += why["doc_id"].n_unique()
            why = why.join(own.select("doc_id", "source"), on="doc_id")
            sums["removal"].add(why)
            sums["removal"].add(why.with_columns(pl.lit("any cause").alias("cause")).unique("doc_id"))
    tables = {name: own.table() for name, own in sums.items()}
    sizes = tables.pop("sizes")
    total = int(sizes["documents"].sum())
    share = (pl.col("documents") / max(total, 1)).alias("share")
    mean = pl.when(pl.col("known") > 0).then(pl.col("sum") / pl.col("known"))
    labels = lake.get(references["sentence_embedding"]).summary["topics"]
    found = {
        "languages": tables["languages"].sort("documents", "language", descending=[True, False]).with_columns(share),
        "registers": tables["registers"]
        .select(
            pl.col("domain").alias("declared"),
            pl.col("register").alias("predicted"),
            "documents",
            mean.alias("quality"),
        )
        .sort("documents", descending=True, maintain_order=True)
        .with_columns(share),
        "topics": tables["topics"]
        .with_columns(
            topic=pl.Series([f"{n}: {labels.get(str(n), '')}" for n in tables["topics"]["topic"]], dtype=pl.Utf8)
        )
        .select("topic", "documents", "tokens", mean.alias("teacher"))
        .sort("documents", descending=True, maintain_order=True),
        "rules": _rules(tables["rules"], rules),
        "duplicates": _duplicates(lake, lake.get(references["duplicates"]), sizes, folder),
        "contamination": tables["contamination"],
        "pii": tables["pii"],
        "removal": tables["removal"]
        .join(sizes.rename({"documents": "of"}), on="source", maintain_order="left")
        .with_columns((pl.col("documents") / pl.col("of")).alias("share"))
        .drop("of"),
        "distributions": pl.concat(histogram.rows() for histogram in histograms),
    }
    return found, {"documents": total, "removed": removed}


def _rules(counts: pl.DataFrame, rules: Sequence[str]) -> pl.DataFrame:
    order = {name: place for place, name in enumerate(rules)}
    shares = [(1 - pl.col(f"pass_{name}") / pl.col("documents")).alias(name) for name in rules]
    return (
        counts.select("source", "documents", *shares)
        .unpivot(rules, index=["source", "documents"], variable_name="rule", value_name="fails")
        .with_columns(pl.col("rule").replace_strict(order).alias("_order"))
        .sort("_order", "source")
        .select("rule", "source", "documents", "fails")
    )


def _duplicates(lake: Lake, duplicates: Manifest, sizes: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Copies and clusters by kind and source."""
    source = pl.col("partition").str.split("|").list.first().alias("source")
    sums = Sums(["kind", "source"], pl.len().alias("copies"), pl.col("cluster_id").n_unique().alias("clusters"))
    with sorted_runs(folder, "cluster_id") as clusters:
        for part in table_parts(lake, duplicates, ["kind", "partition", "cluster_id", "kept"]):
            clusters.append(part.filter(~pl.col("kept")).select("kind", source, "cluster_id"))
        for part in clusters.merged():
            sums.add(part)
    joined = sums.table().join(sizes, on="source", how="left", maintain_order="left")
    return joined.with_columns((pl.col("copies") / pl.col("documents")).alias("share")).drop("documents")
