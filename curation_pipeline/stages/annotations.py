"""Annotations: facts about the documents of one corpus partition, each computed once beside the documents."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from curation_pipeline.annotate.detectors.factory import load_detector
from curation_pipeline.annotate.statistics import text_statistics
from curation_pipeline.annotate.topics import load_topics
from curation_pipeline.annotate.toxicity import judge_scores, teacher_scores
from curation_pipeline.annotate.vectors import load_vectors
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.training.tokenizer import count_tokens

ANNOTATIONS = ("text_statistics", "toxicity_teacher", "toxicity_judge", "sentence_vectors", "token_counts")
"""Tables keyed by doc_id that every corpus partition has before an iteration may use it."""

VERSIONS = {table: "1" for table in ANNOTATIONS}
"""Declared version of each annotator: raised by hand when its numbers change."""

REFERENCE_OF = {
    "toxicity_teacher": "detectors",
    "toxicity_judge": "detectors",
    "sentence_vectors": "sentence_embedding",
    "token_counts": "tokenizer",
}
"""The unpartitioned artefact that an annotator reads, besides the documents."""


def _statistics(ctx: Context, documents: pl.DataFrame, _: Manifest | None) -> pl.DataFrame:
    return text_statistics(documents)


def score_teachers(ctx: Context, texts: pl.Series, detectors: Manifest) -> pl.DataFrame:
    """One column in [0, 1] for each teacher detector of the profile, in the order of the texts."""
    folder, settings = ctx.lake.folder(detectors), ctx.profile.annotate
    teachers = [load_detector(name, settings, folder) for name in settings.teachers]
    return teacher_scores(_keyed(texts), teachers, ctx.progress).drop("doc_id")


def score_judge(ctx: Context, texts: pl.Series, detectors: Manifest) -> pl.DataFrame:
    """The judge's columns in [0, 1], in the order of the texts; the first is overall toxicity."""
    judge = load_detector(ctx.profile.annotate.judge, ctx.profile.annotate, ctx.lake.folder(detectors))
    return judge_scores(_keyed(texts), judge, ctx.progress).drop("doc_id")


def _keyed(texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": pl.Series([""] * len(texts), dtype=pl.Utf8), "text": texts})


def _teachers(ctx: Context, documents: pl.DataFrame, reference: Manifest | None) -> pl.DataFrame:
    assert reference is not None
    scores = score_teachers(ctx, documents["text"], reference)
    return pl.concat([documents.select("doc_id"), scores], how="horizontal")


def _judge(ctx: Context, documents: pl.DataFrame, reference: Manifest | None) -> pl.DataFrame:
    assert reference is not None
    return pl.concat([documents.select("doc_id"), score_judge(ctx, documents["text"], reference)], how="horizontal")


def _vectors(ctx: Context, documents: pl.DataFrame, reference: Manifest | None) -> pl.DataFrame:
    assert reference is not None
    folder = ctx.lake.folder(reference)
    vectors = load_vectors(folder / "vectors").transform(documents["text"].to_list())
    topic, distance = load_topics(folder / "topics").assign(vectors)
    return documents.select("doc_id").with_columns(
        pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])),
        pl.Series("topic", topic, dtype=pl.Int16),
        pl.Series("topic_distance", distance, dtype=pl.Float32).round(4),
    )


def _tokens(ctx: Context, documents: pl.DataFrame, reference: Manifest | None) -> pl.DataFrame:
    assert reference is not None
    counts = count_tokens(documents["text"].to_list(), ctx.lake.folder(reference))
    return documents.select("doc_id").with_columns(pl.Series("n_tokens", counts, dtype=pl.Int32))


ANNOTATORS: dict[str, Callable[[Context, pl.DataFrame, Manifest | None], pl.DataFrame]] = {
    "text_statistics": _statistics,
    "toxicity_teacher": _teachers,
    "toxicity_judge": _judge,
    "sentence_vectors": _vectors,
    "token_counts": _tokens,
}


def _parameters(ctx: Context, table: str) -> dict[str, object]:
    if table == "toxicity_teacher":
        return {"teachers": list(ctx.profile.annotate.teachers)}
    if table == "toxicity_judge":
        return {"judge": ctx.profile.annotate.judge}
    return {}


def annotate_partition(ctx: Context, table: str, source: str, snapshot: str) -> Manifest:
    """Compute one annotation for one corpus partition.

    Args:
        ctx: the surroundings.
        table: one of `ANNOTATIONS`.
        source: the partition's source.
        snapshot: the partition's snapshot.

    Raises:
        LakeError: the documents, or the model that the annotator needs, have not been made.
    """
    partition = {"source": source, "snapshot": snapshot}
    documents = ctx.lake.require("documents", partition)
    reference = ctx.lake.require(REFERENCE_OF[table]) if table in REFERENCE_OF else None
    inputs = (documents.id,) if reference is None else (documents.id, reference.id)
    recipe = Recipe(table, partition, inputs, _parameters(ctx, table), 0, VERSIONS[table])

    def make(draft: Draft) -> None:
        frame = ctx.lake.frame(documents).filter(~pl.col("duplicate")).select("doc_id", "text", "n_bytes")
        annotated = ANNOTATORS[table](ctx, frame, reference)
        draft.frame(annotated)
        numeric = annotated.select(pl.selectors.numeric()).mean()
        means = numeric.row(0, named=True) if annotated.height else {}
        draft.summary.update({f"mean_{name}": round(value, 4) for name, value in means.items() if value is not None})

    return ctx.lake.build(recipe, make)
