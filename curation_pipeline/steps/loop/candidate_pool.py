"""The candidate pool of an iteration: one row for each document that may be drawn, with what the policy sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest
from curation_pipeline.policy.pool import NO_GROUP
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.curriculum import admitted
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.removal import removed_documents
from curation_pipeline.stages.sampling import is_held_out
from curation_pipeline.stages.texts import read_corpus
from curation_pipeline.steps.corpus_wide.duplicates import STEP as DUPLICATES
from curation_pipeline.steps.corpus_wide.takedown_requests import STEP as TAKEDOWN_REQUESTS
from curation_pipeline.steps.loop.iteration_gate import STEP as ITERATION_GATE
from curation_pipeline.steps.step import Partitioning, Step, Work
from curation_pipeline.steps.view import Plot, View

DIALECT = "dialect"
"""The identity group of text with markers of a minority dialect that mentions no group of people."""
HARM_EDGES = (0.1, HARM_THRESHOLD)
"""Upper edges of the toxicity bins 0 (clean) and 1 (doubtful) on P(harm); what is above is bin 2 (harmful)."""


def compute(work: Work, draft: Draft) -> None:
    """The documents that may be drawn, with the features that the policy sees.

    No duplicate, no held-out and no benchmark text is among them, and nothing of the judge.

    Raises:
        DataError: nothing is left to draw.
    """
    lake, gate, profile = work.lake, work.gate, work.profile
    corpus = read_corpus(lake, gate.corpus)
    clusters = lake.frame(work.reference(DUPLICATES), columns=["doc_id", "cluster_id", "kind"])
    held_out = held_out_with_copies(corpus["doc_id"], clusters, profile.corpus.holdout_share, profile.seed)
    corpus = corpus.filter(~held_out)
    removed = removed_documents(lake, gate.corpus, gate.references, profile.removal)
    removed = removed.filter(pl.col("doc_id").is_in(corpus["doc_id"].implode()))
    draft.keyed(removed, "removed")
    corpus = corpus.join(removed, on="doc_id", how="anti", maintain_order="left")
    if corpus.is_empty():
        raise DataError("nothing is left to draw: every document is held out or removed; see [removal]")
    reward = RewardModel.load(lake.folder(lake.get(work.parent.reward_model_id)))
    frame = candidates(corpus, profile.annotate.teachers, reward, drawn_counts(lake, work.parent.batches))
    pool_size = frame.height
    frame = admitted(frame, gate.max_p_harm)
    if frame.is_empty():
        raise DataError(f"curriculum stage {gate.stage['name']!r} lets no document in: raise its `max_p_harm`")
    draft.keyed(frame, compression="lz4")
    tokens = frame["n_tokens"].sum()
    by_bin = frame.group_by("toxicity_bin").agg(pl.col("n_tokens").sum()).sort("toxicity_bin")
    draft.summary.update(
        documents=frame.height,
        tokens=int(tokens),
        held_out=int(held_out.sum()),
        removed=removed["doc_id"].n_unique(),
        removed_by_cause=dict(removed.group_by("cause").len().sort("cause").iter_rows()),
        strata=frame["stratum"].n_unique(),
        mean_p_harm=round(float(frame["p_harm"].to_numpy().mean()), 4),
        token_share_by_toxicity_bin={str(b): round(n / max(tokens, 1), 4) for b, n in by_bin.iter_rows()},
        documents_by_source=dict(frame["source"].value_counts().sort("source").iter_rows()),
    )
    if gate.stage:
        draft.summary.update(curriculum_stage=gate.stage["name"], kept_back_by_stage=pool_size - frame.height)


def held_out_with_copies(doc_ids: pl.Series, clusters: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """Whether each document is held out, itself or through a near copy.

    A model that has read a near copy of a held-out text has read the text.

    Args:
        doc_ids: the documents.
        clusters: columns doc_id, cluster_id and kind of the table ``duplicates``.
        share: share of documents that are held out.
        seed: the profile's seed.
    """
    near = clusters.filter(pl.col("kind") == "near")
    leaking = near.filter(pl.Series(is_held_out(near["doc_id"], share, seed)))["cluster_id"]
    copies = near.filter(pl.col("cluster_id").is_in(leaking.implode()))["doc_id"]
    return pl.Series(is_held_out(doc_ids, share, seed)) | doc_ids.is_in(copies.implode())


def drawn_counts(lake: Lake, batches: Iterable[str]) -> dict[str, int]:
    """How often each document is in the batches."""
    counts: Counter[str] = Counter()
    for identity in batches:
        counts.update(lake.frame(lake.get(identity), columns=["doc_id"])["doc_id"].to_list())
    return counts


def with_protected_group(corpus: pl.DataFrame) -> pl.DataFrame:
    """The documents with text in dialect as an identity group of its own, where ``aae_score`` says which that is.

    Detectors call dialect harmful far more often than people do, and an axis that is missing can be neither credited
    nor floored: as a value of ``identity_group`` it enters strata, cells of coverage, floors and corrections. One
    marker is enough: the group is held up, never down, so that a document too many costs little.
    """
    if "aae_score" not in corpus.columns:
        return corpus
    marked = (pl.col("aae_score") > 0) & (pl.col("identity_group") == NO_GROUP)
    group = pl.when(marked).then(pl.lit(DIALECT)).otherwise("identity_group").alias("identity_group")
    return corpus.with_columns(group).drop("aae_score")


def candidates(
    corpus: pl.DataFrame, teachers: tuple[str, ...], reward: RewardModel, drawn: dict[str, int]
) -> pl.DataFrame:
    """Add what the reward model says, the stratum and the selection history to annotated documents.

    Args:
        corpus: the frame of `read_corpus`.
        teachers: names of the teacher detectors' columns.
        reward: the reward model in force.
        drawn: doc_id to number of earlier draws in this chain.

    Returns:
        The frame of the table ``pool``, sorted by doc_id.
    """
    corpus = with_protected_group(corpus)
    vectors = corpus["vector"].to_numpy()
    found = reward.annotate(corpus, vectors)
    bins = np.digitize(found["p_harm"].to_numpy(), HARM_EDGES).astype(np.int8)
    optional = tuple(name for name in ("obfuscation", "register") if name in corpus.columns)
    return (
        corpus.with_columns(
            found["p_harm"],
            found["alignment"],
            pl.Series("toxicity_bin", bins),
            pl.Series("n_drawn", [drawn.get(doc_id, 0) for doc_id in corpus["doc_id"]], dtype=pl.Int32),
        )
        .with_columns(
            pl.format("t{}|b{}|{}", pl.col("topic"), pl.col("toxicity_bin"), pl.col("identity_group")).alias("stratum")
        )
        .select(
            "doc_id", "source", "snapshot", "domain", "n_tokens", "topic", "toxicity_bin", "identity_group", "stratum",
            "vector", *teachers, *optional, "p_harm", "alignment", "quality", "n_drawn",
        )
        .sort("doc_id")
    )  # fmt: skip


def view(ctx: Context, manifest: Manifest) -> View:
    """How P(harm) and alignment are distributed."""
    frame = ctx.lake.frame(manifest, columns=["p_harm", "alignment"])

    def draw(axes: Any) -> None:
        axes.hist(frame["p_harm"].to_numpy(), bins=50, alpha=0.6, label="P(harm)")
        axes.hist(frame["alignment"].to_numpy(), bins=50, alpha=0.6, label="alignment")
        axes.set(ylabel="documents", yscale="log")
        axes.legend(frameon=False)

    return View({"scores": Plot(draw)})


def _parameters(work: Work) -> dict[str, Any]:
    return {
        "teachers": list(work.profile.annotate.teachers),
        "holdout_share": work.profile.corpus.holdout_share,
        "harm_edges": list(HARM_EDGES),
        "removal": work.profile.removal.model_dump(mode="json"),
    }


STEP = Step(
    module=__name__,
    table="pool",
    version="4",
    compute=compute,
    partitioning=Partitioning.ITERATION,
    inputs=(ITERATION_GATE,),
    reads=(DUPLICATES, TAKEDOWN_REQUESTS),
    also=lambda work: [work.parent.reward_model_id],
    parameters=_parameters,
    kinds=frozenset({"polars", "parquet"}),
    view=view,
)
