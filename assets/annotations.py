"""Annotations of raw corpus partitions: each computed once, beside documents that are never rewritten."""

from typing import Any

import dagster as dg
import numpy as np

from assets.corpus import documents
from assets.metadata import OWNERS, plot, result
from assets.models import detectors, sentence_embedding, tokenizer
from assets.partitions import corpus_partitions
from curation_pipeline.stages.annotations import VERSIONS, annotate_partition
from resources.project import ProjectResource

HISTOGRAMS = {
    "text_statistics": ("quality", "quality heuristic"),
    "toxicity_teacher": (None, "teacher's score"),
    "toxicity_judge": (None, "judge's score"),
    "token_counts": ("n_tokens", "tokens"),
}


def _annotation(name: str, description: str, kinds: set[str], deps: list[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """An asset for one annotator; they differ in nothing but what they compute."""

    @dg.asset(
        name=name,
        partitions_def=corpus_partitions,
        group_name="annotations",
        owners=OWNERS,
        kinds=kinds,
        code_version=VERSIONS[name],
        deps=[documents, *deps],
        description=description,
    )
    def annotation(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
        ctx = project.context(context.log)
        source, _, snapshot = context.partition_key.partition("|")
        manifest = annotate_partition(ctx, name, source, snapshot)
        extra: dict[str, dg.MetadataValue] = {}
        if name in HISTOGRAMS and manifest.n_rows:
            column, label = HISTOGRAMS[name]
            frame = ctx.lake.frame(manifest)
            values = frame[column or frame.columns[1]].to_numpy().astype(np.float64)

            def draw(axes: Any) -> None:
                axes.hist(values, bins=40)
                axes.set(xlabel=label, ylabel="documents")
                if column is None:
                    axes.set_yscale("log")

            extra["distribution"] = plot(draw)
        return result(manifest, extra)

    return annotation


text_statistics = _annotation(
    "text_statistics",
    "Length, vocabulary, punctuation, compression, a quality heuristic, and the identity group that a text mentions.",
    {"polars", "parquet"},
    [],
)
toxicity_teacher = _annotation(
    "toxicity_teacher",
    "Scores of the detectors that make the reward, one column each, in [0, 1].",
    {"parquet"},
    [detectors],
)
toxicity_judge = _annotation(
    "toxicity_judge",
    "Scores of the detector that judges the trained model. They are read by reports and checks only: no reward, no "
    "policy and no batch sees them.",
    {"pytorch", "parquet"},
    [detectors],
)
sentence_vectors = _annotation(
    "sentence_vectors",
    "Sentence vectors of unit norm, and the topic cluster of each document.",
    {"scikitlearn", "parquet"},
    [sentence_embedding],
)
token_counts = _annotation(
    "token_counts",
    "Tokens of each document under the model's tokenizer, its closing token included: what budgets count.",
    {"huggingface", "parquet"},
    [tokenizer],
)
ANNOTATION_ASSETS = [text_statistics, toxicity_teacher, toxicity_judge, sentence_vectors, token_counts]
