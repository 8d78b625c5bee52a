"""Annotations of raw corpus partitions: each computed once, beside documents that are never rewritten."""

from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np

from assets.corpus import benchmarks, documents
from assets.metadata import OWNERS, markdown_table, plot, result
from assets.models import cascade, detectors, register_model, sentence_embedding, tokenizer
from curation_pipeline.stages.annotations import ANNOTATORS, VERSIONS, annotate_partition
from resources.project import ProjectResource

REFERENCES = {
    "benchmarks": benchmarks,
    "detectors": detectors,
    "cascade": cascade,
    "sentence_embedding": sentence_embedding,
    "register_model": register_model,
    "tokenizer": tokenizer,
}


@dataclass(frozen=True)
class View:
    """What the UI shows of an annotation.

    Attributes:
        description: of the asset.
        kinds: its badges.
        histogram: column drawn as a histogram, with its label; an empty name means the first score.
        counts: column whose values are counted in a table.
    """

    description: str
    kinds: tuple[str, ...] = ("parquet",)
    histogram: tuple[str, str] | None = None
    counts: str | None = None


VIEWS = {
    "text_statistics": View(
        "Length, vocabulary, punctuation, compression, a quality heuristic, and the identity group that is mentioned.",
        ("polars", "parquet"),
        histogram=("quality", "quality heuristic"),
    ),
    "quality_rules": View(
        "The rules of Gopher (quality and repetition), C4 and FineWeb: a value and a pass flag for each. They mark; "
        "what removes a document is decided by the profile's [removal].",
    ),
    "language": View("The language of each document, and how sure that is.", counts="language"),
    "dialect": View(
        "Markers of varieties of English that detectors call harmful too often. A proxy for how a text is written, "
        "never for who wrote it: it protects such text as a group, and never removes any.",
        ("polars", "parquet"),
        histogram=("aae_score", "weight of markers"),
    ),
    "pii": View(
        "Where e-mail addresses, phone numbers, IP addresses and card numbers stand. They are replaced by placeholders "
        "before a model reads the text.",
    ),
    "minhash": View("MinHash signatures over word 5-grams, for near duplicates over all partitions."),
    "contamination": View("Runs of 13 words that a document shares with a benchmark that the evaluation uses."),
    "toxicity_teacher": View(
        "Scores of the detectors that make the reward, each in [0, 1], long texts in windows with the maximum and the "
        "mean; and the share of words whose letters are disguised.",
        histogram=("", "teacher's score"),
    ),
    "toxicity_judge": View(
        "Scores of the detector that judges the trained model. They are read by reports and checks only: no reward, no "
        "policy and no batch sees them.",
        ("pytorch", "parquet"),
        histogram=("", "judge's score"),
    ),
    "sentence_vectors": View(
        "Sentence vectors of unit norm, and the topic cluster of each document.",
        ("scikitlearn", "parquet"),
        counts="topic",
    ),
    "register": View(
        "How a document is written: indicators of register, the register that they and its words suggest, and how "
        "little it looks damaged.",
        ("scikitlearn", "parquet"),
        counts="register",
    ),
    "token_counts": View(
        "Tokens of each document as the model reads it, personal data redacted, its closing token included: what "
        "budgets count.",
        ("huggingface", "parquet"),
        histogram=("n_tokens", "tokens"),
    ),
}


def _annotation(name: str, beside: list[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """An asset for one annotator; they differ in nothing but what they compute."""
    annotator, view = ANNOTATORS[name], VIEWS[name]

    @dg.asset(
        name=name,
        partitions_def=documents.partitions_def,
        group_name="annotations",
        owners=OWNERS,
        kinds=set(view.kinds),
        code_version=VERSIONS[name],
        deps=[documents, *(REFERENCES[reference] for reference in annotator.references), *beside],
        description=view.description,
    )
    def annotation(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
        ctx = project.context(context.log)
        source, _, snapshot = context.partition_key.partition("|")
        manifest = annotate_partition(ctx, name, source, snapshot)
        extra: dict[str, dg.MetadataValue] = {}
        if view.histogram is not None and manifest.n_rows:
            column, label = view.histogram
            frame = ctx.lake.frame(manifest)
            values = frame[column or frame.columns[1]].to_numpy().astype(np.float64)

            def draw(axes: Any) -> None:
                axes.hist(values, bins=40)
                axes.set(xlabel=label, ylabel="documents")
                if not column:
                    axes.set_yscale("log")

            extra["distribution"] = plot(draw)
        if view.counts is not None:
            counts = ctx.lake.frame(manifest, columns=[view.counts])[view.counts].value_counts(sort=True).head(30)
            extra[view.counts] = markdown_table([view.counts, "documents"], counts.iter_rows())
        return result(manifest, extra)

    return annotation


def _annotations() -> dict[str, dg.AssetsDefinition]:
    made: dict[str, dg.AssetsDefinition] = {}
    for name, annotator in ANNOTATORS.items():
        made[name] = _annotation(name, [made[other] for other in annotator.beside])
    return made


BY_NAME = _annotations()
ANNOTATION_ASSETS = list(BY_NAME.values())
