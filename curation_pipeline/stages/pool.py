"""The candidate pool of an iteration: one row for each document that may be drawn, with what the policy sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import polars as pl

from curation_pipeline.annotate.pii import redact
from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.policy.pool import NO_GROUP
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.curriculum import admitted
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.gate import gate_and_parent
from curation_pipeline.stages.references import is_held_out
from curation_pipeline.stages.removal import removed_documents

TABLE = "pool"
CODE_VERSION = "4"
DIALECT = "dialect"
"""The identity group of text with markers of a minority dialect that mentions no group of people."""
HARM_EDGES = (0.1, HARM_THRESHOLD)
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
        for table in ("text_statistics", "toxicity_teacher", "sentence_vectors", "token_counts", "register", "dialect"):
            annotation = lake.frame(lake.get(ids[table]))
            if table == "register":
                annotation = annotation.select("doc_id", "register")
            if table == "dialect":
                annotation = annotation.select("doc_id", "aae_score")
            if table == "text_statistics":
                annotation = annotation.select("doc_id", "quality", "identity_group")
            frame = frame.join(annotation, on="doc_id", how="inner")
        frames.append(frame)
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True)


def read_texts(lake: Lake, corpus: dict[str, dict[str, str]], doc_ids: pl.Series, redact_pii: bool = True) -> pl.Series:
    """The texts of some documents as a model reads them, in the order of ``doc_ids``.

    Args:
        lake: the lake.
        corpus: ids of each partition's documents and annotations.
        doc_ids: which documents.
        redact_pii: put placeholders in the place of personal data.
    """
    wanted = doc_ids.unique().implode()

    def rows(identity: str, *columns: str) -> pl.DataFrame:
        table = pl.scan_parquet(lake.path(lake.get(identity), "data.parquet"), glob=False)
        return table.filter(pl.col("doc_id").is_in(wanted)).select("doc_id", *columns).collect()

    found = []
    for _, ids in sorted(corpus.items()):
        texts = rows(ids["documents"], "text").unique("doc_id", keep="first", maintain_order=True)
        if redact_pii and texts.height:
            texts = texts.join(rows(ids["pii"], "spans"), on="doc_id", how="left", maintain_order="left")
            texts = texts.with_columns(redact(texts["text"], texts["spans"]).alias("text")).drop("spans")
        found.append(texts)
    every = pl.concat(found).unique("doc_id", keep="first", maintain_order=True)
    return doc_ids.to_frame("doc_id").join(every, on="doc_id", how="left", maintain_order="left")["text"]


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
    """How often each document stands in the batches."""
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
    beside = tuple(name for name in ("obfuscation", "register") if name in corpus.columns)
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
            "vector", *teachers, *beside, "p_harm", "alignment", "quality", "n_drawn",
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
    share, removal = ctx.profile.corpus.holdout_share, ctx.profile.removal
    recipe = Recipe(
        TABLE,
        gate.partition,
        (gate_manifest.id, reward_manifest.id),
        {
            "teachers": list(teachers),
            "holdout_share": share,
            "harm_edges": list(HARM_EDGES),
            "removal": removal.model_dump(mode="json"),
        },
        ctx.profile.seed,
        CODE_VERSION,
    )

    def make(draft: Draft) -> None:
        corpus = read_corpus(ctx.lake, gate.corpus)
        clusters = ctx.lake.frame(ctx.lake.get(gate.references["duplicates"]), columns=["doc_id", "cluster_id", "kind"])
        held_out = held_out_with_copies(corpus["doc_id"], clusters, share, ctx.profile.seed)
        corpus = corpus.filter(~held_out)
        removed = removed_documents(ctx.lake, gate.corpus, gate.references, removal)
        removed = removed.filter(pl.col("doc_id").is_in(corpus["doc_id"].implode()))
        draft.keyed(removed, "removed")
        corpus = corpus.join(removed, on="doc_id", how="anti", maintain_order="left")
        if corpus.is_empty():
            raise DataError("nothing is left to draw: every document is held out or removed; see [removal]")
        reward = RewardModel.load(ctx.lake.folder(reward_manifest))
        frame = candidates(corpus, tuple(teachers), reward, drawn_counts(ctx.lake, parent.batches))
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

    return ctx.lake.build(recipe, make)
