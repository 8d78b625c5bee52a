"""Annotations: facts about the documents of one corpus partition, each computed once beside the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from curation_pipeline.annotate.detectors.factory import load_detector
from curation_pipeline.annotate.toxicity import judge_scores, teacher_scores
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context

CHUNK = 20_000
"""Documents annotated at a time: memory does not grow with the partition."""

Annotate = Callable[[pl.DataFrame], pl.DataFrame]
"""From rows of documents (doc_id, text, n_bytes, domain, and the columns of `Annotator.beside`) to rows of a table."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """How one annotation is computed.

    Attributes:
        version: raised by hand when its numbers change.
        prepare: loads what it needs once and gives the function that annotates a chunk.
        references: unpartitioned artefacts that it reads.
        beside: annotations of the same partition that it reads; their columns are joined to each chunk.
        parameters: settings that are part of its recipe.
    """

    version: str
    prepare: Callable[[Context, Mapping[str, Manifest]], Annotate]
    references: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    parameters: Callable[[Context], dict[str, object]] = lambda ctx: {}


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


def _statistics(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.statistics import text_statistics

    return text_statistics


def _quality(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.quality import quality_rules

    return lambda documents: quality_rules(documents, ctx.profile.annotate.quality)


def _language(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.language import languages

    return lambda documents: languages(documents, ctx.profile.annotate.language)


def _pii(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.pii import pii

    return lambda documents: pii(documents, ctx.profile.annotate.pii)


def _minhash(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.minhash import minhash_signatures

    return lambda documents: minhash_signatures(documents, ctx.profile.annotate.duplicates)


def _contamination(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.contamination import benchmark_index, contamination

    index = benchmark_index(benchmark_texts(ctx.lake, references["benchmarks"]))
    return lambda documents: contamination(documents, index)


def _teachers(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    folder, settings = ctx.lake.folder(references["detectors"]), ctx.profile.annotate
    teachers = [load_detector(name, settings, folder) for name in settings.teachers]
    return lambda documents: teacher_scores(documents, teachers, ctx.progress)


def _judge(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    judge = load_detector(ctx.profile.annotate.judge, ctx.profile.annotate, ctx.lake.folder(references["detectors"]))
    return lambda documents: judge_scores(documents, judge, ctx.progress)


def _vectors(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.topics import load_topics
    from curation_pipeline.annotate.vectors import load_vectors

    folder = ctx.lake.folder(references["sentence_embedding"])
    embedding, topics = load_vectors(folder / "vectors"), load_topics(folder / "topics")

    def annotate(documents: pl.DataFrame) -> pl.DataFrame:
        vectors = embedding.transform(documents["text"].to_list())
        topic, distance = topics.assign(vectors)
        return documents.select("doc_id").with_columns(
            pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])),
            pl.Series("topic", topic, dtype=pl.Int16),
            pl.Series("topic_distance", distance, dtype=pl.Float32).round(4),
        )

    return annotate


def _register(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.quality_classifier import load_quality
    from curation_pipeline.annotate.register import load_register, register

    folder = ctx.lake.folder(references["register_model"])
    registers, quality = load_register(folder / "register"), load_quality(folder / "quality")
    return lambda documents: register(documents, registers, quality)


def _tokens(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.pii import redact
    from curation_pipeline.training.tokenizer import count_tokens

    folder = ctx.lake.folder(references["tokenizer"])

    def annotate(documents: pl.DataFrame) -> pl.DataFrame:
        # The model reads redacted text, so budgets count redacted text.
        texts = redact(documents["text"], documents["spans"])
        counts = count_tokens(texts.to_list(), folder)
        return documents.select("doc_id").with_columns(pl.Series("n_tokens", counts, dtype=pl.Int32))

    return annotate


ANNOTATORS: dict[str, Annotator] = {
    "text_statistics": Annotator("1", _statistics),
    "quality_rules": Annotator(
        "1", _quality, parameters=lambda ctx: {"quality": ctx.profile.annotate.quality.model_dump(mode="json")}
    ),
    "language": Annotator(
        "1", _language, parameters=lambda ctx: {"language": ctx.profile.annotate.language.model_dump(mode="json")}
    ),
    "pii": Annotator("1", _pii, parameters=lambda ctx: {"pii": ctx.profile.annotate.pii.model_dump(mode="json")}),
    "minhash": Annotator(
        "1", _minhash, parameters=lambda ctx: {"minhash": ctx.profile.annotate.duplicates.signature_parameters()}
    ),
    "contamination": Annotator("1", _contamination, references=("benchmarks",)),
    "toxicity_teacher": Annotator(
        "1",
        _teachers,
        references=("detectors",),
        parameters=lambda ctx: {"teachers": list(ctx.profile.annotate.teachers)},
    ),
    "toxicity_judge": Annotator(
        "1", _judge, references=("detectors",), parameters=lambda ctx: {"judge": ctx.profile.annotate.judge}
    ),
    "sentence_vectors": Annotator("1", _vectors, references=("sentence_embedding",)),
    "register": Annotator("1", _register, references=("register_model",)),
    "token_counts": Annotator("2", _tokens, references=("tokenizer",), beside=("pii",)),
}
"""Tables keyed by doc_id that every corpus partition has before an iteration may use it."""

ANNOTATIONS = tuple(ANNOTATORS)
VERSIONS = {table: annotator.version for table, annotator in ANNOTATORS.items()}


def benchmark_texts(lake: Lake, benchmarks: Manifest) -> pl.DataFrame:
    """Every text of every benchmark that the evaluation uses: columns benchmark and text."""
    from curation_pipeline.datasets.benchmarks import texts_of
    from curation_pipeline.stages.references import read_benchmarks

    return texts_of(read_benchmarks(lake, benchmarks))


def chunks(lake: Lake, manifest: Manifest, columns: list[str], size: int) -> Iterator[pl.DataFrame]:
    """The rows of an artefact's table, ``size`` at a time or fewer; none are read ahead."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(lake.path(manifest, "data.parquet")) as file:
        for batch in file.iter_batches(batch_size=size, columns=columns):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame


def annotate_partition(ctx: Context, table: str, source: str, snapshot: str) -> Manifest:
    """Compute one annotation for one corpus partition, a chunk of documents at a time.

    Args:
        ctx: the surroundings.
        table: one of `ANNOTATIONS`.
        source: the partition's source.
        snapshot: the partition's snapshot.

    Raises:
        LakeError: the documents, or what else the annotator needs, have not been made.
    """
    lake, annotator = ctx.lake, ANNOTATORS[table]
    partition = {"source": source, "snapshot": snapshot}
    documents = lake.require("documents", partition)
    references = {name: lake.require(name) for name in annotator.references}
    beside = [lake.require(name, partition) for name in annotator.beside]
    inputs = (documents.id, *(m.id for m in references.values()), *(m.id for m in beside))
    recipe = Recipe(table, partition, inputs, annotator.parameters(ctx), 0, annotator.version)

    def make(draft: Draft) -> None:
        annotate = annotator.prepare(ctx, references)
        extra = [lake.frame(manifest).drop("doc_id") for manifest in beside]
        sums: dict[str, float] = {}
        rows = 0

        def annotated(frame: pl.DataFrame) -> pl.DataFrame:
            parts = [frame.filter(~pl.col("duplicate")).drop("duplicate")]
            parts += [other.slice(rows, parts[0].height) for other in extra]
            return annotate(pl.concat(parts, how="horizontal"))

        columns = ["doc_id", "text", "n_bytes", "domain", "duplicate"]
        schema = pl.read_parquet_schema(lake.path(documents, "data.parquet"))
        empty = annotated(pl.DataFrame(schema={name: schema[name] for name in columns}))
        numeric = empty.select(pl.selectors.numeric(), pl.selectors.boolean()).columns
        with draft.writer(dict(empty.schema)) as write:
            for frame in chunks(lake, documents, columns, CHUNK):
                part = annotated(frame)
                write(part)
                rows += part.height
                for name in numeric:
                    sums[name] = sums.get(name, 0.0) + float(part[name].cast(pl.Float64).sum())
                ctx.progress(table, min(rows / max(documents.n_rows, 1), 1.0))
        draft.summary.update({f"mean_{name}": round(total / rows, 4) for name, total in sums.items() if rows})

    return lake.build(recipe, make)
