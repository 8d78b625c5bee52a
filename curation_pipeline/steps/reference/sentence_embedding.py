"""The space of sentence vectors, and the topics in it."""

from __future__ import annotations

from typing import Any

from curation_pipeline.annotate.topics import fit_topics, load_topics, match_topics
from curation_pipeline.annotate.vectors import fit_vectors, load_vectors
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.seeds import derive
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.foundation import PARAMETERS
from curation_pipeline.stages.sampling import sample_texts
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import Table, View

TABLE = "sentence_embedding"


def compute(work: Work, draft: Draft) -> None:
    """Unsupervised sentence vectors (TF-IDF and truncated SVD) and k-means topics.

    They are fitted once on a sample of every raw partition: documents that arrive later are placed in the same space. A
    new generation (`annotate.generation`) fits again; a topic then keeps the id of the old one whose texts it mostly
    holds.
    """
    lake, settings, documents = work.lake, work.profile.annotate, work.every(DOCUMENTS)
    seed = derive(work.profile.seed, TABLE)
    texts = sample_texts(lake, list(documents), settings.vector_sample // len(documents), seed)
    work.ctx.progress("fitting sentence vectors", 0.1)
    model = fit_vectors(texts, seed, dims=settings.vector_dims, max_terms=settings.vector_max_terms)
    vectors = model.transform(texts)
    work.ctx.progress("fitting topics", 0.7)
    topics = fit_topics(vectors, texts, settings.topics, seed)
    if (before := lake.head(TABLE)) is not None:
        old = lake.folder(before)
        model_before = load_topics(old / "topics")
        former, _ = model_before.assign(load_vectors(old / "vectors").transform(texts))
        fresh, next_id = topics.assign(vectors)[0], model_before.next_id
        topics = topics.renumbered(match_topics(former, fresh, len(topics.labels), next_id=next_id), next_id)
    model.save(draft.folder / "vectors")
    topics.save(draft.folder / "topics")
    draft.summary.update(
        texts=len(texts),
        dimensions=settings.vector_dims,
        topics={str(number): label for number, label in zip(topics.ids, topics.labels, strict=True)},
    )


def view(ctx: Context, manifest: Manifest) -> View:
    """The words of each topic."""
    return View({"topics": Table(["topic", "words"], list(manifest.summary["topics"].items()))})


def _parameters(work: Work) -> dict[str, Any]:
    return PARAMETERS[TABLE](work.profile)


def _before(work: Work) -> list[str]:
    head = work.lake.head(TABLE)
    return [] if head is None else [head.id]


STEP = Step(
    module=__name__,
    table=TABLE,
    version="1",
    compute=compute,
    inputs=(DOCUMENTS,),
    also=_before,
    parameters=_parameters,
    kinds=frozenset({"scikitlearn"}),
    view=view,
    foundation=True,
)
