"""Held-out documents, in roles that nobody mixes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD, judge_scores, toxicity_columns
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.lake.runs import sorted_runs
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import judge_parameters, open_detector
from curation_pipeline.stages.foundation import PARAMETERS
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.stages.texts import corpus_parts
from curation_pipeline.steps.annotations.toxicity_teacher import STEP as TOXICITY_TEACHER
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.figures import histogram
from curation_pipeline.steps.reference.cascade import STEP as CASCADE
from curation_pipeline.steps.reference.detectors import STEP as DETECTORS
from curation_pipeline.steps.step import Step, Work
from curation_pipeline.steps.view import View

TABLE = "heldout_texts"
CLEAN_SCORE = 0.1
"""At or below this score a held-out document counts as clean; what lies between is used for neither."""
MIN_HELD_OUT = 8
"""Fewest held-out texts of one role, kind and source that are used."""


def compute(work: Work, draft: Draft) -> None:
    """Held-out documents that no pool ever holds, in three disjoint roles by hash: two fifths, two fifths and a fifth.

    ``credit`` drives the loop and is labelled clean or toxic by the teacher; ``report`` is shown to people and is
    labelled by the judge, so that what is reported never leans on the detector that makes the reward; ``final``,
    labelled like ``report``, is what no iteration sees. Of each role and source the judge scores as many documents as
    the profile says; its scores are the table ``judged``.

    Raises:
        DataError: a role has no toxic or no benign text.
    """
    every = _with_texts(work, _looked_at(work, draft))
    judged = _judged(work, every)
    draft.frame(judged, "judged")
    every = every.join(judged.select("doc_id", pl.col(judged.columns[3]).alias("judge")), on="doc_id", how="left")
    encyclopaedic = every.filter(pl.col("domain") == "encyclopaedia")["judge"].drop_nulls()
    draft.summary.update(
        encyclopaedic_texts=encyclopaedic.len(),
        judge_false_positive_rate=round(int((encyclopaedic >= HARM_THRESHOLD).sum()) / max(encyclopaedic.len(), 1), 5),
    )
    chosen = _with_roles(work, every)
    counts = {f"{r}/{k}": n for r, k, n in chosen.group_by("role", "kind").len().sort("role", "kind").iter_rows()}
    for role in ("credit", "report"):
        if not counts.get(f"{role}/toxic") or not counts.get(f"{role}/benign"):
            raise DataError(
                f"the held-out documents of role {role!r} hold no toxic or no benign text ({counts}); raise "
                "corpus.holdout_share or corpus.heldout_judged in the profile, or add sources"
            )
    draft.frame(chosen)
    draft.summary.update(counts)


def _looked_at(work: Work, draft: Draft) -> pl.DataFrame:
    """The held-out documents that can be judged or used, each once, by rising order.

    Of each role and source these are the first that the judge may score, and the first that the teacher calls clean
    and toxic: no further ones are ever asked for, so that what is held does not grow with the corpus.

    Returns:
        Columns doc_id, source, domain, teacher, role and order (both by hash) and partition.
    """
    corpus = work.profile.corpus
    with sorted_runs(draft.folder) as runs:
        for number, (documents, teacher) in enumerate(
            zip(work.every(DOCUMENTS), work.every(TOXICITY_TEACHER), strict=True)
        ):
            runs.extend(part.with_columns(partition=number) for part in _held_out(work, documents, teacher))
        first = pl.DataFrame()
        for part in runs.merged():
            own = part.unique("doc_id", keep="first", maintain_order=True)
            place = unit_hash(own["doc_id"], derive(work.profile.seed, "holdout_role"))
            own = own.with_columns(
                pl.Series("role", np.select([place < 0.4, place < 0.8], ["credit", "report"], "final")),
                pl.Series("order", unit_hash(own["doc_id"], derive(work.profile.seed, "holdout_order"))),
            )
            first = (pl.concat([first, own]) if first.width else own).sort("order")
            nth = pl.int_range(pl.len())
            most = max(corpus.heldout_benign_per_source, corpus.heldout_toxic, MIN_HELD_OUT)
            first = first.filter(
                (nth.over("role", "source") < corpus.heldout_judged)
                | ((pl.col("role") == "credit") & (nth.over("role", "source", _kind(pl.col("teacher"))) < most))
            )
    return first


def _held_out(work: Work, documents: Manifest, teacher: Manifest) -> Iterator[pl.DataFrame]:
    """The documents of a partition that are held out: doc_id, source, domain, and the mean of the teachers."""
    names = toxicity_columns(work.profile.annotate.teachers)
    ids = {"documents": documents.id, "toxicity_teacher": teacher.id}
    corpus = {documents.partition_text: ids}
    for part in corpus_parts(work.lake, corpus, ("source", "domain"), {"toxicity_teacher": names}):
        held_out = is_held_out(part["doc_id"], work.profile.corpus.holdout_share, work.profile.seed)
        yield part.filter(pl.Series(held_out)).select(
            "doc_id", "source", "domain", pl.mean_horizontal(names).alias("teacher")
        )


def _with_texts(work: Work, every: pl.DataFrame) -> pl.DataFrame:
    """The same rows in the same order with their texts."""
    texts = [pl.DataFrame(schema={"doc_id": pl.Utf8, "text": pl.Utf8})]
    for number, documents in enumerate(work.every(DOCUMENTS)):
        wanted = every.filter(pl.col("partition") == number)["doc_id"].implode()
        table = pl.scan_parquet(work.lake.path(documents, "data.parquet"), glob=False)
        own = table.filter(~pl.col("duplicate") & pl.col("doc_id").is_in(wanted))
        texts.append(own.select("doc_id", "text").collect())
    return every.drop("partition").join(pl.concat(texts), on="doc_id", maintain_order="left")


def _kind(score: pl.Expr) -> pl.Expr:
    """Toxic or benign by a score, and null between."""
    return pl.when(score >= HARM_THRESHOLD).then(pl.lit("toxic")).when(score <= CLEAN_SCORE).then(pl.lit("benign"))


def _judged(work: Work, every: pl.DataFrame) -> pl.DataFrame:
    """Scores of the judge: columns doc_id, source, role, and one for each of its heads, the first overall toxicity.

    It labels the roles ``report`` and ``final``. Encyclopaedic text of every role shows its false positives.
    """
    asked = (pl.col("role") != "credit") | (pl.col("domain") == "encyclopaedia")
    first = pl.int_range(pl.len()).over("role", "source") < work.profile.corpus.heldout_judged
    chosen = every.filter(asked & first)
    judge = open_detector(work.ctx, work.profile.annotate.judge, work.by_table(DETECTORS, CASCADE))
    scores = judge_scores(chosen, judge, work.ctx.progress)
    return pl.concat([chosen.select("doc_id", "source", "role"), scores.drop("doc_id")], how="horizontal")


def _with_roles(work: Work, every: pl.DataFrame) -> pl.DataFrame:
    """The texts that are used: columns doc_id, source, domain, text, kind (toxic, benign) and role."""
    corpus = work.profile.corpus
    score = pl.when(pl.col("role") == "credit").then(pl.col("teacher")).otherwise(pl.col("judge"))
    every = every.with_columns(_kind(score).alias("kind")).drop_nulls("kind").sort("order")
    # Metrics are means over sources: one with a handful of texts would weigh as much as any other.
    every = every.filter(pl.len().over("role", "kind", "source") >= MIN_HELD_OUT)
    benign = every.filter(pl.col("kind") == "benign").group_by("role", "source", maintain_order=True)
    toxic = every.filter(pl.col("kind") == "toxic").group_by("role", maintain_order=True)
    columns = ["doc_id", "source", "domain", "text", "kind", "role"]
    return pl.concat(
        [
            benign.head(corpus.heldout_benign_per_source).select(columns),
            toxic.head(corpus.heldout_toxic).select(columns),
        ]
    )


def _parameters(work: Work) -> dict[str, Any]:
    return {**PARAMETERS[TABLE](work.profile), **judge_parameters(work.profile.annotate)}


def view(ctx: Context, manifest: Manifest) -> View:
    """What the judge says of held-out text."""
    if not manifest.holds("judged.parquet"):  # a chain keeps what an earlier version made
        return View()
    judged = ctx.lake.frame(manifest, "judged")
    return View({"judge": histogram(judged[judged.columns[3]], "judge's score", log=True)})


STEP = Step(
    module=__name__,
    table=TABLE,
    version="3",
    compute=compute,
    inputs=(DOCUMENTS, TOXICITY_TEACHER, DETECTORS, CASCADE),
    parameters=_parameters,
    kinds=frozenset({"pytorch", "parquet"}),
    view=view,
    foundation=True,
)
