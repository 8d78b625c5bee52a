"""What is made once for a corpus and then fixed: labels, benchmarks, detectors, embedding, tokenizer, held-out text."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.quality_classifier import fit_quality
from curation_pipeline.annotate.register import declared_registers, fit_register
from curation_pipeline.annotate.topics import fit_topics, load_topics, match_topics
from curation_pipeline.annotate.toxicity import toxicity_columns
from curation_pipeline.annotate.vectors import fit_vectors, load_vectors
from curation_pipeline.datasets.labelled import axis_of, labelled_sets
from curation_pipeline.datasets.labelled_files import declared_splits, fingerprints
from curation_pipeline.datasets.preferences import preference_sets
from curation_pipeline.datasets.registry import check
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.items import ItemFrames, item_parameters, load_items, with_items
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.foundation import PARAMETERS, found
from curation_pipeline.stages.sampling import corpus_documents, sample, sample_texts
from curation_pipeline.training.tokenizer import train_tokenizer

LABELS_VERSION = "3"
BENCHMARKS_VERSION = "4"
EMBEDDING_VERSION = "1"
REGISTER_VERSION = "1"
TOKENIZER_VERSION = "1"
HELDOUT_VERSION = "2"
TOKENIZER_SAMPLE = 20_000
"""Documents that the tokenizer is fitted on, as many from each partition."""
TOXIC_SCORE = 0.5
"""At or above this score of its labeller a held-out document counts as toxic."""
MIN_HELD_OUT = 8
"""Fewest held-out texts of one role, kind and source that are used."""
CLEAN_SCORE = 0.1
"""At or below this score a held-out document counts as clean; what lies between is used for neither."""


def labels(ctx: Context) -> Manifest:
    """Human-labelled sets with the role of each split, checked for leaks between roles, and preference pairs.

    Raises:
        ConfigError: a labelled file of the profile is not there, or is not what the profile says.
        DataError: a file's content is wrong, or one text has two roles.
    """
    opt_in, files = sorted(ctx.profile.corpus.opt_in_labels), ctx.profile.labels.files
    parameters: dict[str, Any] = {"opt_in": opt_in}
    if files:
        parameters["files"] = [file.model_dump(mode="json", exclude={"path"}) for file in files]
        parameters["content"] = fingerprints(files)
    recipe = Recipe("labels", {}, (), parameters, 0, LABELS_VERSION)

    def make(draft: Draft) -> None:
        frame = labelled_sets(ctx.cache, frozenset(opt_in), files)
        check(frame)
        draft.frame(frame)
        draft.frame(preference_sets(files, frame), "preferences")
        counts = frame.group_by("dataset", "role").len().sort("dataset", "role")
        draft.summary["rows_by_dataset_and_role"] = {f"{d}/{r}": n for d, r, n in counts.iter_rows()}
        meanings = {f"{split.dataset}/{split.split}": split.meaning for split in declared_splits(files)}
        if meanings:
            draft.summary["meaning_of_a_label_of_one"] = meanings
        draft.summary["axes"] = {name: axis_of(name, files) for name in frame["dataset"].unique().sort()}

    return ctx.lake.build(recipe, make)


def benchmarks(ctx: Context) -> Manifest:
    """The benchmarks' items, as one Parquet file each."""
    settings = ctx.profile.evaluation
    parameters = item_parameters(settings)
    recipe = Recipe("benchmarks", {}, (), parameters, ctx.profile.seed, BENCHMARKS_VERSION)

    def make(draft: Draft) -> None:
        for name, frame in load_items(ctx.cache, derive(ctx.profile.seed, "benchmarks"), settings).items():
            draft.frame(frame, name)
            draft.summary[name] = frame.height

    return ctx.lake.build(recipe, make)


def read_benchmarks(lake: Lake, manifest: Manifest) -> ItemFrames:
    """The items that a manifest holds, by benchmark."""
    return {benchmark.name: lake.frame(manifest, benchmark.name) for benchmark, _ in with_items()}


def sentence_embedding(ctx: Context) -> Manifest:
    """The sentence-vector model and the topic clusters, fitted on a sample of every partition.

    Fitted once: documents that arrive later are placed in the same space, and topics keep their ids. A new generation
    (`annotate.generation`) fits again; a topic then keeps the id of the old one whose texts it mostly holds.
    """
    documents = corpus_documents(ctx)
    settings = ctx.profile.annotate
    parameters = PARAMETERS["sentence_embedding"](ctx.profile)
    before = ctx.lake.head("sentence_embedding")
    inputs = [m.id for m in documents] + ([before.id] if before is not None else [])
    recipe = Recipe("sentence_embedding", {}, tuple(inputs), parameters, ctx.profile.seed, EMBEDDING_VERSION)

    def make(draft: Draft) -> None:
        seed = derive(ctx.profile.seed, "sentence_embedding")
        texts = sample_texts(ctx.lake, documents, settings.vector_sample // len(documents), seed)
        ctx.progress("fitting sentence vectors", 0.1)
        model = fit_vectors(texts, seed, dims=settings.vector_dims, max_terms=settings.vector_max_terms)
        vectors = model.transform(texts)
        ctx.progress("fitting topics", 0.7)
        topics = fit_topics(vectors, texts, settings.topics, seed)
        if before is not None:
            old = ctx.lake.folder(before)
            model_before = load_topics(old / "topics")
            former, _ = model_before.assign(load_vectors(old / "vectors").transform(texts))
            fresh, next_id = topics.assign(vectors)[0], model_before.next_id
            ids = match_topics(former, fresh, len(topics.labels), next_id=next_id)
            topics = topics.renumbered(ids, next_id)
        model.save(draft.folder / "vectors")
        topics.save(draft.folder / "topics")
        draft.summary.update(
            texts=len(texts),
            dimensions=settings.vector_dims,
            topics={str(number): label for number, label in zip(topics.ids, topics.labels, strict=True)},
        )

    return found(ctx, recipe, make)


def register_model(ctx: Context) -> Manifest:
    """The classifiers of register and of damaged text, fitted once on a sample of every partition.

    Raises:
        DataError: the corpus is empty.
    """
    documents = corpus_documents(ctx)
    registers, quality = ctx.profile.annotate.registers, ctx.profile.annotate.quality_classifier
    parameters = {
        "registers": registers.model_dump(mode="json"),
        "quality": quality.model_dump(mode="json"),
        "generation": ctx.profile.annotate.generation,
    }
    recipe = Recipe(
        "register_model", {}, tuple(m.id for m in documents), parameters, ctx.profile.seed, REGISTER_VERSION
    )

    def make(draft: Draft) -> None:
        seed = derive(ctx.profile.seed, "register_model")
        each = max(registers.max_documents, quality.max_documents) // len(documents)
        frames = [sample(ctx.lake, manifest, each, seed) for manifest in documents]
        texts = pl.concat(frames)
        declared = declared_registers(texts)
        ctx.progress("fitting the register and quality classifiers", 0.2)
        fit_quality(texts, seed, quality).save(draft.folder / "quality")
        # A corpus of one register has nothing to learn one from: its documents then have no predicted register.
        if len(declared) > 1:
            fit_register(texts, seed, registers).save(draft.folder / "register")
        draft.summary.update(texts=texts.height, registers=declared)

    return ctx.lake.build(recipe, make, founded=True)


def tokenizer(ctx: Context) -> Manifest:
    """The byte-level BPE tokenizer: fixed for the life of the chain, so that likelihoods compare."""
    documents = corpus_documents(ctx)
    settings = ctx.profile.training
    parameters = PARAMETERS["tokenizer"](ctx.profile)
    recipe = Recipe("tokenizer", {}, tuple(m.id for m in documents), parameters, ctx.profile.seed, TOKENIZER_VERSION)

    def make(draft: Draft) -> None:
        if settings.model_id is None:
            seed = derive(ctx.profile.seed, "tokenizer")
            texts = sample_texts(ctx.lake, documents, TOKENIZER_SAMPLE // len(documents), seed)
            train_tokenizer(texts, settings.scratch.vocab_size, draft.folder)
        else:
            from curation_pipeline.training.smollm2 import resolve_model
            from curation_pipeline.training.tokenizer import load_tokenizer

            load_tokenizer(resolve_model(settings.model_id, ctx.cache)).save_pretrained(draft.folder)
        draft.summary.update(parameters)

    return found(ctx, recipe, make)


def is_held_out(doc_ids: pl.Series, share: float, seed: int) -> np.ndarray:
    """Whether each document is held out of every pool: a function of its id alone, bool (n,)."""
    return unit_hash(doc_ids, derive(seed, "holdout")) < share


def heldout_texts(ctx: Context) -> Manifest:
    """Held-out documents of three disjoint roles by hash: two fifths, two fifths and a fifth.

    ``credit`` drives the loop and is labelled clean or toxic by the teacher; ``report`` is shown to people and is
    labelled by the judge, so that what is reported never leans on the detector that makes the reward; ``final``,
    labelled like ``report``, is what no iteration sees.
    """
    lake, corpus = ctx.lake, ctx.profile.corpus
    documents = corpus_documents(ctx)
    inputs: list[str] = []
    frames: list[pl.DataFrame] = []
    for manifest in documents:
        teacher = lake.require("toxicity_teacher", manifest.partition)
        judge = lake.require("toxicity_judge", manifest.partition)
        inputs += [manifest.id, teacher.id, judge.id]
    parameters = PARAMETERS["heldout_texts"](ctx.profile)
    recipe = Recipe("heldout_texts", {}, tuple(inputs), parameters, ctx.profile.seed, HELDOUT_VERSION)

    def make(draft: Draft) -> None:
        seed, teachers = ctx.profile.seed, toxicity_columns(ctx.profile.annotate.teachers)
        for manifest in documents:
            frame = lake.frame(manifest).filter(~pl.col("duplicate"))
            frame = frame.filter(is_held_out(frame["doc_id"], corpus.holdout_share, seed))
            teacher = lake.frame(lake.require("toxicity_teacher", manifest.partition))
            judge = lake.frame(lake.require("toxicity_judge", manifest.partition))
            frames.append(
                frame.select("doc_id", "source", "domain", "text")
                .join(teacher.select("doc_id", pl.mean_horizontal(teachers).alias("teacher")), on="doc_id")
                .join(judge.select("doc_id", pl.col(judge.columns[1]).alias("judge")), on="doc_id")
            )
        every = pl.concat(frames).unique("doc_id", maintain_order=True)
        encyclopaedic = every.filter(pl.col("domain") == "encyclopaedia")["judge"]
        draft.summary.update(
            encyclopaedic_texts=encyclopaedic.len(),
            judge_false_positive_rate=round(int((encyclopaedic >= TOXIC_SCORE).sum()) / max(encyclopaedic.len(), 1), 5),
        )
        place = unit_hash(every["doc_id"], derive(seed, "holdout_role"))
        every = every.with_columns(
            pl.Series("role", np.select([place < 0.4, place < 0.8], ["credit", "report"], "final")),
            pl.Series("order", unit_hash(every["doc_id"], derive(seed, "holdout_order"))),
        )
        score = pl.when(pl.col("role") == "credit").then(pl.col("teacher")).otherwise(pl.col("judge"))
        every = (
            every.with_columns(
                pl.when(score >= TOXIC_SCORE)
                .then(pl.lit("toxic"))
                .when(score <= CLEAN_SCORE)
                .then(pl.lit("benign"))
                .alias("kind")
            )
            .drop_nulls("kind")
            .sort("order")
        )
        # Metrics are means over sources: one with a handful of texts would weigh as much as any other.
        every = every.filter(pl.len().over("role", "kind", "source") >= MIN_HELD_OUT)
        benign = (
            every.filter(pl.col("kind") == "benign")
            .group_by("role", "source", maintain_order=True)
            .head(corpus.heldout_benign_per_source)
        )
        toxic = every.filter(pl.col("kind") == "toxic").group_by("role", maintain_order=True).head(corpus.heldout_toxic)
        columns = ["doc_id", "source", "domain", "text", "kind", "role"]
        chosen = pl.concat([benign.select(columns), toxic.select(columns)])
        counts = {f"{r}/{k}": n for r, k, n in chosen.group_by("role", "kind").len().sort("role", "kind").iter_rows()}
        for role in ("credit", "report"):
            if not counts.get(f"{role}/toxic") or not counts.get(f"{role}/benign"):
                raise DataError(
                    f"the held-out documents of role {role!r} hold no toxic or no benign text ({counts}); raise "
                    "corpus.holdout_share in the profile, or add sources"
                )
        draft.frame(chosen)
        draft.summary.update(counts)

    return found(ctx, recipe, make)
