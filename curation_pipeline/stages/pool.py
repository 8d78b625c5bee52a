"""The candidate pool of an iteration: one row for each document that may be drawn, with what the policy sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import polars as pl

from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.references import is_held_out

TABLE = "pool"
CODE_VERSION = "1"
HARM_EDGES = (0.1, 0.5)
"""Upper edges of the toxicity bins 0 (clean) and 1 (doubtful) on P(harm); what is above is bin 2 (harmful)."""


def read_corpus(lake: Lake, corpus: dict[str, dict[str, str]]) -> pl.DataFrame:
    """Documents of the frozen partitions joined with their annotations, without texts and duplicates.

    A text that stands in several partitions is taken from the first in order of key.
    """
    frames = []
    for _, ids in sorted(corpus.items()):
        documents = lake.frame(
            lake.get(ids["documents"]), columns=["doc_id", "source", "snapshot", "domain", "duplicate"]
        )
        frame = documents.filter(~pl.col("duplicate")).drop("duplicate")
        for table in ("text_statistics", "toxicity_teacher", "sentence_vectors", "token_counts"):
            annotation = lake.frame(lake.get(ids[table]))
            if table == "text_statistics":
                annotation = annotation.select("doc_id", "quality", "identity_group")
            frame = frame.join(annotation, on="doc_id", how="inner")
        frames.append(frame)
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True)


def read_texts(lake: Lake, corpus: dict[str, dict[str, str]], doc_ids: pl.Series) -> pl.Series:
    """The texts of some documents, in the order of ``doc_ids``."""
    wanted = doc_ids.unique().implode()
    found = [
        pl.scan_parquet(lake.path(lake.get(ids["documents"]), "data.parquet"))
        .filter(pl.col("doc_id").is_in(wanted))
        .select("doc_id", "text")
        .collect()
        for _, ids in sorted(corpus.items())
    ]
    texts = pl.concat(found).unique("doc_id", keep="first")
    return doc_ids.to_frame("doc_id").join(texts, on="doc_id", how="left", maintain_order="left")["text"]


def drawn_counts(lake: Lake, batches: Iterable[str]) -> dict[str, int]:
    """How often each document stands in the batches."""
    counts: Counter[str] = Counter()
    for identity in batches:
        counts.update(lake.frame(lake.get(identity), columns=["doc_id"])["doc_id"].to_list())
    return counts


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
    vectors = corpus["vector"].to_numpy()
    p_harm = reward.safety.p_harm(corpus.select(teachers), vectors)
    bins = np.digitize(p_harm, HARM_EDGES).astype(np.int8)
    return (
        corpus.with_columns(
            pl.Series("p_harm", p_harm, dtype=pl.Float32).round(4),
            pl.Series("alignment", reward.alignment.score(vectors), dtype=pl.Float32).round(4),
            pl.Series("toxicity_bin", bins),
            pl.Series("n_drawn", [drawn.get(doc_id, 0) for doc_id in corpus["doc_id"]], dtype=pl.Int32),
        )
        .with_columns(
            pl.format("t{}|b{}|{}", pl.col("topic"), pl.col("toxicity_bin"), pl.col("identity_group")).alias("stratum")
        )
        .select(
            "doc_id", "source", "snapshot", "domain", "n_tokens", "topic", "toxicity_bin", "identity_group", "stratum",
            "vector", *teachers, "p_harm", "alignment", "quality", "n_drawn",
        )
        .sort("doc_id")
    )  # fmt: skip


def candidate_pool(ctx: Context, chain: str, ordinal: int) -> Manifest:
    """Build the pool that an iteration's gate froze.

    Raises:
        LakeError: the gate has not been opened.
    """
    gate_manifest, gate, parent = gate_and_parent(ctx.lake, chain, ordinal)
    reward_manifest = ctx.lake.get(parent.reward_model_id)
    teachers = ctx.profile.annotate.teachers
    share = ctx.profile.corpus.holdout_share
    recipe = Recipe(
        TABLE,
        gate.partition,
        (gate_manifest.id, reward_manifest.id),
        {"teachers": list(teachers), "holdout_share": share, "harm_edges": list(HARM_EDGES)},
        ctx.profile.seed,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        corpus = read_corpus(ctx.lake, gate.corpus)
        held_out = is_held_out(corpus["doc_id"], share, ctx.profile.seed)
        reward = RewardModel.load(ctx.lake.folder(reward_manifest))
        frame = candidates(
            corpus.filter(~pl.Series(held_out)), tuple(teachers), reward, drawn_counts(ctx.lake, parent.batches)
        )
        draft.frame(frame)
        tokens = frame["n_tokens"].sum()
        by_bin = frame.group_by("toxicity_bin").agg(pl.col("n_tokens").sum()).sort("toxicity_bin")
        draft.summary.update(
            documents=frame.height,
            tokens=int(tokens),
            held_out=int(held_out.sum()),
            strata=frame["stratum"].n_unique(),
            mean_p_harm=round(float(frame["p_harm"].to_numpy().mean()), 4),
            token_share_by_toxicity_bin={str(b): round(n / max(tokens, 1), 4) for b, n in by_bin.iter_rows()},
            documents_by_source=dict(frame["source"].value_counts().sort("source").iter_rows()),
        )

    return ctx.lake.build(recipe, make)
