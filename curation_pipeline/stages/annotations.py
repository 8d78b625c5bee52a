"""Annotations: facts about the documents of one corpus partition, each computed once beside the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation_pipeline.annotate import (
    contamination,
    dialect,
    language,
    minhash,
    pii,
    quality,
    register,
    statistics,
    toxicity,
    vectors,
)
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import (
    MODELS,
    judge_parameters,
    open_detector,
    open_teachers,
    teacher_parameters,
)

TOKENS_VERSION = 2
"""Of ``token_counts``; the other annotators' versions stand in their own modules."""
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

    version: int
    prepare: Callable[[Context, Mapping[str, Manifest]], Annotate]
    references: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    parameters: Callable[[Context], dict[str, object]] = lambda ctx: {}


def _statistics(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    return statistics.text_statistics


def _quality(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    return lambda documents: quality.quality_rules(documents, ctx.profile.annotate.quality)


def _language(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    return lambda documents: language.languages(documents, ctx.profile.annotate.language)


def _dialect(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    settings = ctx.profile.annotate.dialect
    return lambda documents: documents.select("doc_id").with_columns(dialect.dialect(documents["text"], settings))


def _pii(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    return lambda documents: pii.pii(documents, ctx.profile.annotate.pii)


def _minhash(ctx: Context, _: Mapping[str, Manifest]) -> Annotate:
    return lambda documents: minhash.minhash_signatures(documents, ctx.profile.annotate.duplicates)


def _contamination(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    index = contamination.benchmark_index(benchmark_texts(ctx.lake, references["benchmarks"]))
    return lambda documents: contamination.contamination(documents, index)


def _teachers(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    teachers = open_teachers(ctx, references)
    return lambda documents: toxicity.teacher_scores(documents, teachers, ctx.progress)


def _judge(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    judge = open_detector(ctx, ctx.profile.annotate.judge, references)
    return lambda documents: toxicity.judge_scores(documents, judge, ctx.progress)


def _vectors(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.topics import load_topics

    folder = ctx.lake.folder(references["sentence_embedding"])
    embedding, topics = vectors.load_vectors(folder / "vectors"), load_topics(folder / "topics")

    def annotate(documents: pl.DataFrame) -> pl.DataFrame:
        matrix = embedding.transform(documents["text"].to_list())
        topic, distance = topics.assign(matrix)
        return documents.select("doc_id").with_columns(
            pl.Series("vector", matrix, dtype=pl.Array(pl.Float32, matrix.shape[1])),
            pl.Series("topic", topic, dtype=pl.Int16),
            pl.Series("topic_distance", distance, dtype=pl.Float32).round(4),
        )

    return annotate


def load_registers(folder: Path) -> register.RegisterModel | None:
    """The register classifier of the artefact ``register_model``; None where the corpus declares one register only."""
    return register.load_register(folder / "register") if (folder / "register").is_dir() else None


def _register(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.annotate.quality_classifier import load_quality

    folder = ctx.lake.folder(references["register_model"])
    registers, undamaged = load_registers(folder), load_quality(folder / "quality")
    return lambda documents: register.register(documents, registers, undamaged)


def _tokens(ctx: Context, references: Mapping[str, Manifest]) -> Annotate:
    from curation_pipeline.training.tokenizer import count_tokens

    folder = ctx.lake.folder(references["tokenizer"])

    def annotate(documents: pl.DataFrame) -> pl.DataFrame:
        # The model reads redacted text, so budgets count redacted text.
        texts = pii.redact(documents["text"], documents["spans"])
        counts = count_tokens(texts.to_list(), folder)
        return documents.select("doc_id").with_columns(pl.Series("n_tokens", counts, dtype=pl.Int32))

    return annotate


def _settings(*names: str) -> Callable[[Context], dict[str, object]]:
    """The parameters of an annotator that depends on these sections of the profile's ``annotate``."""
    return lambda ctx: {name: getattr(ctx.profile.annotate, name).model_dump(mode="json") for name in names}


ANNOTATORS: dict[str, Annotator] = {
    "text_statistics": Annotator(statistics.VERSION, _statistics),
    "quality_rules": Annotator(
        quality.VERSION, _quality, parameters=lambda ctx: quality.recipe_parameters(ctx.profile.annotate.quality)
    ),
    "language": Annotator(language.VERSION, _language, parameters=_settings("language")),
    "dialect": Annotator(dialect.VERSION, _dialect, parameters=_settings("dialect")),
    "pii": Annotator(pii.VERSION, _pii, parameters=_settings("pii")),
    "minhash": Annotator(
        minhash.VERSION,
        _minhash,
        parameters=lambda ctx: {"minhash": ctx.profile.annotate.duplicates.signature_parameters()},
    ),
    "contamination": Annotator(contamination.VERSION, _contamination, references=("benchmarks",)),
    "toxicity_teacher": Annotator(
        toxicity.VERSION,
        _teachers,
        references=MODELS,
        parameters=lambda ctx: teacher_parameters(ctx.profile.annotate),
    ),
    "toxicity_judge": Annotator(
        toxicity.VERSION,
        _judge,
        references=MODELS,
        parameters=lambda ctx: judge_parameters(ctx.profile.annotate),
    ),
    "sentence_vectors": Annotator(vectors.VERSION, _vectors, references=("sentence_embedding",)),
    "register": Annotator(register.VERSION, _register, references=("register_model",)),
    "token_counts": Annotator(TOKENS_VERSION, _tokens, references=("tokenizer",), beside=("pii",)),
}
"""Tables keyed by doc_id that every corpus partition has before an iteration may use it."""

ANNOTATIONS = tuple(ANNOTATORS)
VERSIONS = {table: str(annotator.version) for table, annotator in ANNOTATORS.items()}


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
    recipe = Recipe(table, partition, inputs, annotator.parameters(ctx), 0, VERSIONS[table])

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
        schema = pl.scan_parquet(lake.path(documents, "data.parquet"), glob=False).collect_schema()
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
