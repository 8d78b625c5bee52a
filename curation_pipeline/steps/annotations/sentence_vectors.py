"""Sentence vectors and topics."""

from __future__ import annotations

import polars as pl

from curation_pipeline.annotate import vectors
from curation_pipeline.annotate.topics import load_topics
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.reference.sentence_embedding import STEP as SENTENCE_EMBEDDING
from curation_pipeline.steps.step import Work


def prepare(work: Work) -> Annotate:
    """Sentence vectors of unit norm, and the topic cluster of each document."""
    folder = work.lake.folder(work[SENTENCE_EMBEDDING])
    embedding, topics = vectors.load_vectors(folder / "vectors"), load_topics(folder / "topics")

    def annotate(documents: pl.DataFrame) -> pl.DataFrame:
        matrix = embedding.transform(documents["text"])
        topic, distance = topics.assign(matrix)
        return documents.select("doc_id").with_columns(
            pl.Series("vector", matrix, dtype=pl.Array(pl.Float32, matrix.shape[1])),
            pl.Series("topic", topic, dtype=pl.Int16),
            pl.Series("topic_distance", distance, dtype=pl.Float32).round(4),
        )

    return annotate


STEP = annotator(
    __name__,
    prepare,
    version=vectors.VERSION,
    references=(SENTENCE_EMBEDDING,),
    kinds=frozenset({"scikitlearn", "parquet"}),
    counts="topic",
)
