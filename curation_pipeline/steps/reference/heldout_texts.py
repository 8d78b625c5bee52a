"""Held-out documents, in roles that nobody mixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD, toxicity_columns
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.seeds import derive, unit_hash
from curation_pipeline.stages.foundation import PARAMETERS
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.steps.annotations.toxicity_judge import STEP as TOXICITY_JUDGE
from curation_pipeline.steps.annotations.toxicity_teacher import STEP as TOXICITY_TEACHER
from curation_pipeline.steps.corpus.documents import STEP as DOCUMENTS
from curation_pipeline.steps.step import Step, Work

TABLE = "heldout_texts"
CLEAN_SCORE = 0.1
"""At or below this score a held-out document counts as clean; what lies between is used for neither."""
MIN_HELD_OUT = 8
"""Fewest held-out texts of one role, kind and source that are used."""


def compute(work: Work, draft: Draft) -> None:
    """Held-out documents that no pool ever holds, in three disjoint roles by hash: two fifths, two fifths and a fifth.

    ``credit`` drives the loop and is labelled clean or toxic by the teacher; ``report`` is shown to people and is
    labelled by the judge, so that what is reported never leans on the detector that makes the reward; ``final``,
    labelled like ``report``, is what no iteration sees.

    Raises:
        DataError: a role has no toxic or no benign text.
    """
    every = _scored(work)
    encyclopaedic = every.filter(pl.col("domain") == "encyclopaedia")["judge"]
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
                "corpus.holdout_share in the profile, or add sources"
            )
    draft.frame(chosen)
    draft.summary.update(counts)


def _scored(work: Work) -> pl.DataFrame:
    """The documents that are held out, each once, with the scores of teacher and judge."""
    lake, teachers = work.lake, toxicity_columns(work.profile.annotate.teachers)
    frames = []
    for documents, teacher, judge in zip(
        work.every(DOCUMENTS), work.every(TOXICITY_TEACHER), work.every(TOXICITY_JUDGE), strict=True
    ):
        frame = lake.frame(documents).filter(~pl.col("duplicate"))
        frame = frame.filter(is_held_out(frame["doc_id"], work.profile.corpus.holdout_share, work.profile.seed))
        scores, judged = lake.frame(teacher), lake.frame(judge)
        frames.append(
            frame.select("doc_id", "source", "domain", "text")
            .join(scores.select("doc_id", pl.mean_horizontal(teachers).alias("teacher")), on="doc_id")
            .join(judged.select("doc_id", pl.col(judged.columns[1]).alias("judge")), on="doc_id")
        )
    return pl.concat(frames).unique("doc_id", maintain_order=True)


def _with_roles(work: Work, every: pl.DataFrame) -> pl.DataFrame:
    """The texts that are used: columns doc_id, source, domain, text, kind (toxic, benign) and role."""
    seed, corpus = work.profile.seed, work.profile.corpus
    place = unit_hash(every["doc_id"], derive(seed, "holdout_role"))
    every = every.with_columns(
        pl.Series("role", np.select([place < 0.4, place < 0.8], ["credit", "report"], "final")),
        pl.Series("order", unit_hash(every["doc_id"], derive(seed, "holdout_order"))),
    )
    score = pl.when(pl.col("role") == "credit").then(pl.col("teacher")).otherwise(pl.col("judge"))
    kind = pl.when(score >= HARM_THRESHOLD).then(pl.lit("toxic")).when(score <= CLEAN_SCORE).then(pl.lit("benign"))
    every = every.with_columns(kind.alias("kind")).drop_nulls("kind").sort("order")
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
    return PARAMETERS[TABLE](work.profile)


STEP = Step(
    module=__name__,
    table=TABLE,
    version="2",
    compute=compute,
    inputs=(DOCUMENTS, TOXICITY_TEACHER, TOXICITY_JUDGE),
    parameters=_parameters,
    foundation=True,
)
